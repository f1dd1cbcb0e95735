"""Voice features over short windows: what the pitch, timbre and loudness of a voice look like in numbers.

For learning who or what kind of voice speaks. Silence at both ends is cut off, the rest is cut into overlapping windows
(`windows.bounds`), and each window is one row. Per-frame features come from one spectrogram (`spectrum`, librosa's
definitions) and F0 from YIN (`pitch`), both shared by all windows; a window has the frames that lie wholly inside it.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from avlake.errors import Quarantined
from avlake.extractors import base, distributions, pitch, spectrum
from avlake.extractors.spectrum import BINS_HZ, HOP, N_FFT, Floats
from avlake.extractors.windows import bounds, trim
from avlake.media.clip import SAMPLE_RATE
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.clip import Clip

BATCH = 32  # windows measured together: bounds memory, and more than most recordings have
ALL_BINS = slice(2, len(BINS_HZ))  # a recorder's DC offset leaks into bins 0 and 1
LOW_BINS = slice(2, int(np.searchsorted(BINS_HZ, 280.0, "right")))  # the range of the voice-gender literature

_PER_FRAME = (  # mean and std over the frames of a window
    *("spectral_centroid_hz", "spectral_bandwidth_hz", "spectral_rolloff_hz", "spectral_flatness"),
    *("zero_crossing_rate", "rms"),
    *(f"chroma_{k:02d}" for k in range(1, 13)),
    *(f"spectral_contrast_db_{k:02d}" for k in range(1, 8)),
    *(f"mfcc_{k:02d}" for k in range(1, 21)),
)
_OVERALL = ("mean", "std", "min", "max")  # over all bands and frames of a window
FEATURES = (
    *(f"amplitude_{stat}" for stat in distributions.AMPLITUDE),
    *(f"frequency_{stat}" for stat in distributions.FREQUENCY),
    *(f"low_frequency_{stat}" for stat in distributions.FREQUENCY),  # below 280 Hz
    *(f"f0_{stat}" for stat in distributions.F0),
    *(f"{name}_mean" for name in _PER_FRAME),
    *(f"{name}_std" for name in _PER_FRAME),
    *(f"{name}_{stat}" for name in ("mel", "mel_db") for stat in _OVERALL),
)
"""The feature columns, in the table's order; all are float32 and none is ever NaN or infinite."""


class Params(base.Params):
    """How a recording is cut into windows."""

    window_s: float = Field(3.0, ge=0.5, le=60, title="Window", description="length of a window in seconds")
    hop_s: float = Field(
        1.0, ge=0.125, le=60, multiple_of=0.125, title="Hop", description="seconds between the starts of two windows"
    )
    top_db: float = Field(
        20.0, gt=0, le=120, title="Trim", description="ends this many dB below the loudest frame are silence"
    )
    min_window_s: float = Field(
        0.5, ge=0.2, le=60, title="Shortest recording", description="after trimming; below it is quarantined"
    )
    min_partial_s: float = Field(
        1.0, ge=0.2, le=60, title="Shortest last window", description="a shorter rest makes no window"
    )

    @model_validator(mode="after")
    def _no_gaps(self) -> Self:
        if max(self.hop_s, self.min_window_s, self.min_partial_s) > self.window_s:
            raise ValueError("hop_s, min_window_s and min_partial_s must not exceed window_s")
        return self


class VoiceFeatures(base.Extractor):
    """One row per window of trimmed sound; times are seconds of the original recording."""

    table = silver(
        "voice_features",
        "voice features, one row per window of trimmed sound",
        key=("window_index",),
        columns={
            "window_index": pa.int32(),
            "window_start_s": pa.float64(),
            "window_end_s": pa.float64(),
            **dict.fromkeys(FEATURES, pa.float32()),
        },
    )
    version = 1
    Params: ClassVar[type[base.Params]] = Params

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        """Raises:
        Quarantined: `silent`, `out_of_range` or `too_short`.
        """
        params = self.params
        assert isinstance(params, Params)
        start, stop = trim(clip, params.top_db)
        hop = _samples(params.hop_s)
        windows = bounds(
            stop - start,
            window=_samples(params.window_s),
            hop=hop,
            shortest=_samples(params.min_window_s),
            shortest_partial=_samples(params.min_partial_s),
        )
        if not windows:
            seconds = (stop - start) / SAMPLE_RATE
            raise Quarantined("too_short", f"{seconds:.2f} s of sound; at least {params.min_window_s:g} s are needed")
        sound = clip.audio.samples[start:stop]
        rows = np.concatenate([_measure(sound, windows[i : i + BATCH], hop) for i in range(0, len(windows), BATCH)])
        times = (np.array(windows, np.float64) + start) / SAMPLE_RATE
        return {
            "window_index": np.arange(len(windows), dtype=np.int32),
            "window_start_s": times[:, 0],
            "window_end_s": times[:, 1],
            **dict(zip(FEATURES, np.ascontiguousarray(rows.T), strict=True)),
        }


EXTRACTOR = VoiceFeatures


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def _measure(sound: Floats, windows: list[tuple[int, int]], hop: int) -> Floats:
    """The features of consecutive windows: frames are measured once, then summed up for windows of equal length."""
    first = windows[0][0]
    frames = _Frames(sound[first : windows[-1][1]])
    rows = []
    for length, group in groupby(windows, lambda window: window[1] - window[0]):
        starts = [start - first for start, _ in group]
        rows.append(frames.summary(starts[0], len(starts), length, hop))
    return np.concatenate(rows)


class _Frames:
    """Everything measured per frame of `x`: frame i begins at sample i * HOP."""

    def __init__(self, x: Floats) -> None:
        self.x = x
        pieces = [_spectral(piece) for piece in spectrum.chunks(x, N_FFT)]
        self.magnitude, self.timbre, self.contrast_peaks, self.contrast_valleys, self.mel = (
            np.concatenate(parts) for parts in zip(*pieces, strict=True)
        )
        self.mel_db = spectrum.to_db(self.mel)
        self.f0 = np.concatenate([pitch.yin(piece) for piece in spectrum.chunks(x, pitch.FRAME)])

    def summary(self, start: int, count: int, length: int, hop: int) -> Floats:
        """(count, len(FEATURES)) for `count` windows of `length` samples, one every `hop` samples from `start`."""

        def windows(values: Floats, frame: int = N_FFT) -> Floats:
            """(n_frames, ...) → (count, ..., frames of one window)."""
            n = (length - frame) // HOP + 1
            view = np.lib.stride_tricks.sliding_window_view(values, n, axis=0)
            return view[start // HOP :: hop // HOP][:count]

        samples = np.lib.stride_tricks.sliding_window_view(self.x, length)[start::hop][:count]
        magnitude = windows(self.magnitude)
        mean_spectra = np.stack([m.mean(axis=-1) for m in magnitude])
        loudest = np.stack([m.max(axis=-1) for m in magnitude])
        mel, mel_db = windows(self.mel), spectrum.floor_db(windows(self.mel_db))
        contrast = spectrum.floor_db(windows(self.contrast_peaks)) - spectrum.floor_db(windows(self.contrast_valleys))
        per_frame = np.concatenate((windows(self.timbre), contrast, spectrum.mfcc(mel_db)), axis=1)
        return np.column_stack(
            (
                distributions.amplitude(samples),
                *(distributions.frequency(mean_spectra, loudest, bins) for bins in (ALL_BINS, LOW_BINS)),
                distributions.f0(windows(self.f0, pitch.FRAME)),
                *(per_frame.mean(axis=-1), per_frame.std(axis=-1)),
                *(getattr(values, stat)(axis=(1, 2)) for values in (mel, mel_db) for stat in _OVERALL),
            )
        )


def _spectral(x: Floats) -> tuple[Floats, ...]:
    """Of each frame: magnitudes, the first of _PER_FRAME, contrast's peaks and valleys in dB, mel powers."""
    magnitude = spectrum.spectrogram(x)
    power = np.square(magnitude)
    timbre = np.column_stack(
        (
            *spectrum.centroid_and_bandwidth(magnitude),
            *(spectrum.rolloff(magnitude), spectrum.flatness(power)),
            *(spectrum.zero_crossing_rate(x), spectrum.rms(x)),
            spectrum.chroma(power),
        )
    )
    return magnitude, timbre, *spectrum.contrast_db(magnitude), spectrum.mel(power)
