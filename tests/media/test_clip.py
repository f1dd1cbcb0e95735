"""What a clip says of a recording as it was delivered, before any resampling."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from avlake.media.clip import Clip


def wav(samples: np.ndarray, subtype: str, rate: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"])
def test_clipping_is_counted_on_both_sides_at_every_depth(subtype: str) -> None:
    square = np.tile([1.0, 1.0, -1.0, -1.0, 0.5, -0.5, 0.0, 0.0], 1000)
    audio = Clip(wav(square, subtype)).audio
    assert audio.native_clipped == 4000
    assert audio.native_peak == pytest.approx(1.0, abs=0.01)


def test_channels_are_averaged_and_the_original_format_is_kept() -> None:
    left, right = np.full(4800, 0.5), np.full(4800, -0.25)
    audio = Clip(wav(np.column_stack([left, right]), "FLOAT", rate=48_000)).audio
    assert (audio.native_rate_hz, audio.native_channels, audio.native_samples) == (48_000, 2, 4800)
    assert audio.duration_s == pytest.approx(0.1)
    assert audio.samples[400:1200] == pytest.approx(0.125, abs=1e-3)
