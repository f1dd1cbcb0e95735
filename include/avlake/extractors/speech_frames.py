"""The sound around each picture of a face: log-mel energies and MFCC every 10 ms, heard once and kept small.

Frames are 25 ms under a Hann window, 10 ms apart, transformed to 512 points; power in 40 of Slaney's triangles of equal
area (Auditory Toolbox, 1998; librosa's `filters.mel`), 0 to 8000 Hz, its natural logarithm floored at 1e-10, below the
noise of 16 bits. MFCC are the first 13 rows of the orthonormal DCT-II of that (Davis & Mermelstein, 1980). Frame k is
centred 5 + 10 k ms after the first sample, so that a picture 40 ms k later has its four frames exactly around it. What
is kept is 80 bytes per frame, 29 MB for an hour.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from avlake.errors import Quarantined
from avlake.extractors import spectrum
from avlake.extractors.spectrum import Floats
from avlake.extractors.windows import MAX_PEAK
from avlake.media.clip import SAMPLE_RATE

NAME = "speech_frames"
STEPS = 4  # frames of sound for each face, the face's time in their middle
MELS = 40
COEFFICIENTS = 13
HOP = SAMPLE_RATE // 100
WINDOW = SAMPLE_RATE // 40
N_FFT = 512
STEP_S = HOP / SAMPLE_RATE
FIRST_S = STEP_S / 2  # the centre of frame 0, after the first sample
CHUNK = 500  # frames transformed at a time
FLOOR = np.float32(1e-10)
SILENCE = np.log(FLOOR)  # in every band where nothing is heard

Halves = np.ndarray[Any, np.dtype[np.float16]]


class SpeechFrames:
    """Hears a clip's sound and keeps its log-mel energies; what is kept does not depend on the blocks' lengths."""

    def __init__(self) -> None:
        self._rest = np.zeros(WINDOW // 2 - HOP // 2, np.float32)  # not analysed yet: frame 0 begins before the sound
        self._chunks: list[Halves] = []
        self._ended = False

    def hear(self, samples: Floats) -> None:
        """Raises:
        Quarantined: `out_of_range` when samples exceed a million times full scale: a broken float file.
        """
        peak = float(np.abs(samples).max(initial=0))
        if peak > MAX_PEAK:
            raise Quarantined("out_of_range", f"samples reach {peak:g} times full scale: broken, or not scaled to 1")
        x, at = np.concatenate((self._rest, samples)), 0
        while len(x) - at >= (CHUNK - 1) * HOP + WINDOW:
            self._chunks.append(_log_mel(x[at : at + (CHUNK - 1) * HOP + WINDOW]))
            at += CHUNK * HOP
        self._rest = x[at:].copy()

    def around(self, times_s: np.ndarray[Any, Any]) -> Halves:
        """Log-mel energies of the STEPS frames around each time after the first sample: (n, STEPS, MELS).

        Frames whose centre no sound has are silent. To be asked once all was heard.
        """
        if not self._ended:
            self._ended = True
            half = np.zeros(WINDOW // 2, np.float32)
            if len(x := np.concatenate((self._rest, half))) >= WINDOW:
                self._chunks.append(_log_mel(x))
        heard = np.concatenate([*self._chunks, silence(1)[0, :1]])  # the last one is for what is not heard
        first = np.rint((times_s - STEP_S * (STEPS - 1) / 2 - FIRST_S) / STEP_S).astype(np.int64)
        at = first[:, None] + np.arange(STEPS)
        return heard[np.where((at >= 0) & (at < len(heard) - 1), at, -1)]


def silence(faces: int) -> Halves:
    """What is around a face where there is no sound: (faces, STEPS, MELS)."""
    return np.full((faces, STEPS, MELS), SILENCE, np.float16)


def mfcc(log_mel: Halves) -> Halves:
    """The cepstral coefficients (..., COEFFICIENTS) of log-mel energies (..., MELS)."""
    found: Halves = (log_mel.astype(np.float32) @ spectrum.dct(COEFFICIENTS, MELS).T).astype(np.float16)
    return found


def _log_mel(x: Floats) -> Halves:
    """Of all the frames that lie wholly in `x`: (n, MELS)."""
    from scipy.fft import rfft
    from scipy.signal import get_window

    framed = np.lib.stride_tricks.sliding_window_view(x, WINDOW)[::HOP]
    power = np.square(np.abs(rfft(framed * get_window("hann", WINDOW).astype(np.float32), N_FFT, axis=-1)))
    found: Halves = np.log(np.maximum(power @ spectrum.mel_filters(N_FFT, MELS), FLOOR)).astype(np.float16)
    return found
