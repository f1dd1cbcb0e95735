"""Measured numbers stay what they are for as long as `version` does: rows of one version are compared and joined.

After a wanted change: raise the `version`, then `python tests/extractors/test_golden.py` writes the new values.
"""

from __future__ import annotations

import io
import json
import wave
from pathlib import Path

import numpy as np
import pytest

from avlake.extractors.audio_quality import AudioQuality
from avlake.extractors.base import Extractor, register
from avlake.extractors.media import Media
from avlake.extractors.segment_features import SegmentFeatures
from avlake.extractors.voice_features import VoiceFeatures
from avlake.media.clip import Clip

GOLDEN = Path(__file__).with_name("golden.json")
EXTRACTORS = (VoiceFeatures, AudioQuality, Media, SegmentFeatures)


def recording() -> bytes:
    """3.6 s that are the same on every machine, for they are made of integers: pulses, a ramp, noise and a pause."""
    n = 57_600
    index = np.arange(n, dtype=np.int64)
    noise = (index * 1_103_515_245 + 12_345) * (index % 8_191 + 7) // 65_536 % 2_048 - 1_024
    pulses = 6_000 * (index % 127 < 20) * (index // 6_400 % 2) - 300 * (index % 61)
    loud = np.where(index < 40_000, pulses + 18_000, pulses // 4)
    samples = np.where((index > 30_000) & (index < 33_000), 0, loud + noise // 4 - 9_000)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def measured(kind: type[Extractor]) -> dict:
    clip = Clip(recording())
    (extractor,) = register(clip, [kind()], streams=("audio",))
    columns = extractor.measure(clip)
    return {"version": kind.version, "columns": {name: values.tolist() for name, values in columns.items()}}


@pytest.mark.parametrize("kind", EXTRACTORS, ids=lambda kind: kind.__name__)
def test_numbers_change_only_with_the_version(kind):
    golden, now = json.loads(GOLDEN.read_text())[kind.__name__], measured(kind)
    assert now["version"] == golden["version"], "a new version: write its values, see this file's docstring"
    assert list(now["columns"]) == list(golden["columns"])
    for name, values in now["columns"].items():
        expected = golden["columns"][name]
        same = values == expected or np.allclose(values, expected, rtol=1e-4, atol=1e-7)
        assert same, f"{name} changed from {expected} to {values}: raise {kind.__name__}.version"


if __name__ == "__main__":
    rows = {kind.__name__: measured(kind) for kind in EXTRACTORS}
    GOLDEN.write_text(json.dumps(rows, indent=1) + "\n")
