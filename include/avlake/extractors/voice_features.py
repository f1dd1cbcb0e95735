"""Voice features over short windows: what the pitch, timbre and loudness of a voice look like in numbers.

For learning who or what kind of voice speaks. Silence at both ends is cut off, the rest is cut into overlapping windows
(`windows.bounds`), and each window is one row. Per-frame features come from one spectrogram (`spectrum`, librosa's
definitions) and F0 from YIN (`pitch`), both shared by all windows; a window has the frames that lie wholly inside it.
"""

from __future__ import annotations

from collections.abc import Iterator
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

BATCH = 32  # windows summed up at a time: bounds memory, and is more than most recordings have
ALL_BINS = slice(2, len(BINS_HZ))  # a recorder's DC offset leaks into bins 0 and 1
LOW_BINS = slice(2, int(np.searchsorted(BINS_HZ, 280.0, "right")))  # the range of the voice-gender literature

_PER_FRAME = (  # mean and std over the frames of a window
    *("spectral_centroid_hz", "spectral_bandwidth_hz", "spectral_rolloff_hz", "spectral_flatness"),
    *(f"chroma_{k:02d}" for k in range(1, 13)),
    *("zero_crossing_rate", "rms"),
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
        frames = _Frames(clip.audio.samples[start:stop], windows)
        rows = np.concatenate([frames.summary(first, last) for first, last in _alike(windows)])
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


def _alike(windows: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """First and end index of runs of windows of equal length, at most BATCH of them."""
    lengths = [stop - start for start, stop in windows]
    first = 0
    for _, run in groupby(lengths):
        end = first + len(list(run))
        yield from ((i, min(i + BATCH, end)) for i in range(first, end, BATCH))
        first = end


class _Frames:
    """Everything measured per frame of a recording, once for all its windows; frame i begins at sample i * HOP."""

    def __init__(self, x: Floats, windows: list[tuple[int, int]]) -> None:
        self.x, self.windows = x, windows
        starts, ends = np.array(windows).T
        self.first_frame, self.end_frame = starts // HOP, (ends - N_FFT) // HOP + 1
        self.spectra = np.zeros((len(windows), len(BINS_HZ)), np.float32)  # sum over the frames of each window
        self.loudest = np.zeros_like(self.spectra)
        framed = spectrum.frames(x, N_FFT)
        pieces, done = [], 0
        for chunk in spectrum.chunks(framed):
            magnitude = spectrum.spectrogram(chunk)
            self._add(magnitude, done)
            pieces.append(_per_frame(magnitude))
            done += len(chunk)
        timbre, self.peaks_db, self.valleys_db, self.mel = map(np.concatenate, zip(*pieces, strict=True))
        self.timbre = np.column_stack((timbre, spectrum.zero_crossing_rate(x), spectrum.rms(framed)))
        self.mel_db = spectrum.to_db(self.mel)
        self.f0 = pitch.yin(x)

    def _add(self, magnitude: Floats, done: int) -> None:
        """Add the frames from number `done` on to the spectra of the windows they lie in."""
        first, end = self.first_frame - done, self.end_frame - done
        for w in np.flatnonzero((first < len(magnitude)) & (end > 0)):
            inside = magnitude[max(first[w], 0) : end[w]]
            self.spectra[w] += inside.sum(axis=0)
            np.maximum(self.loudest[w], inside.max(axis=0), out=self.loudest[w])

    def summary(self, first: int, end: int) -> Floats:
        """(n_windows, len(FEATURES)) for the windows `first` to `end`, which are equally long and equally spaced."""
        start, length = self.windows[first][0], self.windows[first][1] - self.windows[first][0]
        hop = self.windows[first + 1][0] - start if end - first > 1 else HOP

        def windows(values: Floats, frame: int = N_FFT) -> Floats:
            """(n_frames, ...) → (n_windows, ..., frames of one window)."""
            n = (length - frame) // HOP + 1
            view = np.lib.stride_tricks.sliding_window_view(values, n, axis=0)
            return view[start // HOP :: hop // HOP][: end - first]

        samples = np.lib.stride_tricks.sliding_window_view(self.x, length)[start::hop][: end - first]
        spectra, loudest = self.spectra[first:end], self.loudest[first:end]
        mel, mel_db = windows(self.mel), spectrum.floor_db(windows(self.mel_db))
        contrast = spectrum.floor_db(windows(self.peaks_db)) - spectrum.floor_db(windows(self.valleys_db))
        per_frame = np.concatenate((windows(self.timbre), contrast, spectrum.mfcc(mel_db)), axis=1)
        return np.column_stack(
            (
                distributions.amplitude(samples),
                *(distributions.frequency(spectra, loudest, bins) for bins in (ALL_BINS, LOW_BINS)),
                distributions.f0(windows(self.f0, pitch.FRAME)),
                *(per_frame.mean(axis=-1), per_frame.std(axis=-1)),
                *(getattr(values, stat)(axis=(1, 2)) for values in (mel, mel_db) for stat in _OVERALL),
            )
        )


def _per_frame(magnitude: Floats) -> tuple[Floats, ...]:
    """The first of _PER_FRAME side by side, contrast's peaks and valleys in dB, mel powers: each (n_frames, ...)."""
    power = np.square(magnitude)
    timbre = (*spectrum.centroid_and_bandwidth(magnitude), spectrum.rolloff(magnitude), spectrum.flatness(power))
    return np.column_stack((*timbre, spectrum.chroma(power))), *spectrum.contrast_db(magnitude), spectrum.mel(power)
