"""How good a recording is: levels, clipping, noise and silence, one row per file.

For choosing recordings, not for learning from them: curation decides, in SQL, what is good enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from avlake.extractors import base
from avlake.extractors.loudness import integrated_lufs
from avlake.extractors.windows import BLOCK, block_power, frame_db
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.extractors.spectrum import Floats
    from avlake.media.clip import Clip

SNR_RANGE_DB = (-20.0, 100.0)
NOISE_QUANTILE = 0.1


class Params(base.Params):
    """What counts as silence."""

    silence_db: float = Field(
        30.0, gt=0, le=120, title="Silence", description="frames this many dB below the loudest are silent"
    )


class AudioQuality(base.Extractor):
    """Peak and clipping are the file's own, over all channels; the rest is of the mono mix at 16 kHz."""

    table = silver(
        "audio_quality",
        "levels, clipping, noise and silence of a recording",
        columns={
            "duration_s": pa.float64(),
            "peak": pa.float32(),  # largest absolute sample; full scale is 1
            "clipping_ratio": pa.float32(),  # share of samples at full scale
            "snr_db": pa.float32(),
            "loudness_lufs": pa.float32(),  # -70 for silence
            "silence_ratio": pa.float32(),  # share of frames; 1 for silence
        },
    )
    version = 1
    Params: ClassVar[type[base.Params]] = Params

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        assert isinstance(self.params, Params)
        audio = clip.audio
        row = {
            "duration_s": audio.duration_s,
            "peak": audio.native_peak,
            "clipping_ratio": audio.native_clipped / (audio.native_samples * audio.native_channels),
            "snr_db": snr_db(block_power(clip)[: max(len(audio.samples) // BLOCK, 1)]),
            "loudness_lufs": integrated_lufs(audio.samples),
            "silence_ratio": float((frame_db(clip) <= -self.params.silence_db).mean()) if audio.native_peak else 1.0,
        }
        return {name: np.array([value]) for name, value in row.items()}


EXTRACTOR = AudioQuality


def snr_db(power: Floats) -> float:
    """Signal-to-noise ratio from the mean squares of 32 ms blocks, within -20 to 100 dB.

    The noise N is the 10 % quantile of the blocks' power (speech pauses: it needs some), the signal what the mean power
    S holds beyond it: 10 log10((S - N) / N). A steady sound has no pauses and is taken for noise.
    """
    noise = float(np.quantile(power, NOISE_QUANTILE))
    signal = float(power.mean()) - noise
    lowest, highest = (10 ** (limit / 10) for limit in SNR_RANGE_DB)
    ratio = signal / noise if noise > signal / highest else (highest if signal > 0 else 0.0)
    return 10 * float(np.log10(min(max(ratio, lowest), highest)))
