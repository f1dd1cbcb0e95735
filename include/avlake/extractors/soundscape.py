"""What a recording of any length sounds like, frame by frame, from one pass over its sound.

The frames are librosa's (`n_fft=2048, hop_length=500, center=True`, zeros beyond both ends): frame k is centred on
sample 500 k, so that 32 make a second. A part of the recording has the frames whose centres lie in it: where parts
begin need not be known beforehand, as it is not where they are counted from the end.

What is kept is 356 bytes per frame, 41 MB for an hour, a sixth of its samples: decibels as hundredths in 16 bits
(they are floored 80 dB below the loudest of a part, as librosa does, which is not known before), all else as float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from avlake.errors import Quarantined
from avlake.extractors import spectrum
from avlake.extractors.harmonicity import harmonics_to_noise_db
from avlake.extractors.spectrum import CHUNK, HOP, N_FFT, Floats
from avlake.extractors.windows import MAX_PEAK

if TYPE_CHECKING:
    from avlake.media.clip import Clip

NAME = "soundscape"
N_MFCC = 13
N_BANDS = 7  # of spectral contrast
STEPS_PER_DB = np.float32(100)
SILENT_RMS = 1e-5  # -100 dB re full scale, the level of 16-bit rounding: a frame below holds digital silence

_PER_FRAME = (
    *("spectral_centroid_hz", "spectral_bandwidth_hz", "spectral_rolloff_hz"),
    *("harmonics_to_noise_db", "zero_crossing_rate", "rms"),
    *(f"chroma_{k:02d}" for k in range(1, spectrum.N_CHROMA + 1)),
    *(f"spectral_contrast_db_{k:02d}" for k in range(1, N_BANDS + 1)),
    *(f"mfcc_{k:02d}" for k in range(1, N_MFCC + 1)),
)
_RMS = _PER_FRAME.index("rms")
FEATURES = (
    *(f"{name}_mean" for name in _PER_FRAME),
    *(f"{name}_std" for name in _PER_FRAME),
    "silent_ratio",  # share of frames of digital silence
)
"""The feature columns, in the tables' order; all are float32 and none is ever NaN or infinite."""

Parts = np.ndarray[Any, np.dtype[np.int64]]  # (n_parts, 2): first and end sample of each
Hundredths = np.ndarray[Any, np.dtype[np.int16]]


class Soundscape:
    """Hears a clip's sound and keeps what it was like; what is kept does not depend on the lengths of the blocks."""

    def __init__(self) -> None:
        self.n_samples = 0
        self._rest = np.zeros(N_FFT // 2, np.float32)  # not analysed yet
        self._chunks: list[tuple[Floats, Hundredths]] = []  # CHUNK frames each, but for the last
        self._ended = False

    def hear(self, samples: Floats) -> None:
        """Raises:
        Quarantined: `out_of_range` when samples exceed a million times full scale: a broken float file.
        """
        peak = float(np.abs(samples).max(initial=0))
        if peak > MAX_PEAK:
            raise Quarantined("out_of_range", f"samples reach {peak:g} times full scale: broken, or not scaled to 1")
        self.n_samples += len(samples)
        self._take(samples)

    def features(self, parts: Parts) -> Floats:
        """(n_parts, len(FEATURES)) of parts of the sound, at least one; after all of it was heard.

        A part too short to have a frame's centre in it has the one frame before.
        """
        if not self._ended:
            self._ended = True
            self._take(np.zeros(N_FFT // 2, np.float32))
            if len(self._rest) >= N_FFT:
                self._add(self._rest)
        starts, stops = parts.T
        ends = -(-stops // HOP)
        firsts = np.minimum(-(-starts // HOP), ends - 1)
        return np.stack([self._summary(*part) for part in zip(firsts.tolist(), ends.tolist(), strict=True)])

    def _take(self, samples: Floats) -> None:
        """Analyse as many whole chunks as there are: equal chunks give equal bits, whatever the blocks were."""
        x, at = np.concatenate((self._rest, samples)), 0
        while len(x) - at >= (CHUNK - 1) * HOP + N_FFT:
            self._add(x[at : at + (CHUNK - 1) * HOP + N_FFT])
            at += CHUNK * HOP
        self._rest = x[at:].copy()

    def _add(self, x: Floats) -> None:
        framed = spectrum.frames(x, N_FFT)
        magnitude = spectrum.spectrogram(framed)
        power = np.square(magnitude)
        values = np.column_stack(
            (
                *spectrum.centroid_and_bandwidth(magnitude),
                spectrum.rolloff(magnitude),
                harmonics_to_noise_db(power),
                spectrum.zero_crossing_rate(x),
                spectrum.rms(framed),
                spectrum.chroma(power),
            )
        )
        levels = np.column_stack((*spectrum.contrast_db(magnitude), spectrum.to_db(spectrum.mel(power))))
        self._chunks.append((values, np.rint(levels * STEPS_PER_DB).astype(np.int16)))

    def _summary(self, first: int, end: int) -> Floats:
        """Features of the frames from `first` to before `end`."""
        chunk = first // CHUNK
        values, levels = map(np.concatenate, zip(*self._chunks[chunk : -(-end // CHUNK)], strict=True))
        at = slice(first - chunk * CHUNK, end - chunk * CHUNK)
        decibels = (levels[at].astype(np.float32) / STEPS_PER_DB).T[None]  # (1, bands, n_frames)
        peaks, valleys, mel = np.split(decibels, (N_BANDS, 2 * N_BANDS), axis=1)
        contrast = spectrum.floor_db(peaks) - spectrum.floor_db(valleys)
        mfcc = spectrum.mfcc(spectrum.floor_db(mel), N_MFCC)
        everything = np.concatenate((values[at].T, contrast[0], mfcc[0]))
        silent = (everything[_RMS] < SILENT_RMS).mean(dtype=np.float32)
        return np.concatenate((everything.mean(axis=-1), everything.std(axis=-1), [silent]))


def heard(clip: Clip) -> Soundscape:
    """What a clip that was played to a `Soundscape` sounds like.

    Raises:
        Quarantined: `out_of_range`, or `too_short` when there is not a single sample at 16 kHz.
    """
    found = clip.heard(NAME)
    assert isinstance(found, Soundscape)
    if not found.n_samples:
        raise Quarantined("too_short", "the sound is shorter than one sample at 16 kHz")
    return found
