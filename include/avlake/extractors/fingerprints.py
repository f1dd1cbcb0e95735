"""What a clip sounds and looks like, in a few bits: for finding near duplicates; one row per clip.

Sound is told by the signs of differences of energy between bands and moments, a word of 32 bits every 40 ms (Haitsma
and Kalker, "A highly robust audio fingerprinting system", ISMIR 2002); a picture by the signs of its lowest cosine
coefficients, a hash of 64 bits five times a second (Zauner, "Implementation and benchmarking of perceptual image hash
functions", 2010). Both are counted from the recording's start, so that one offset explains both. 0 says nothing: a
silence, or a picture without a shape. `avlake.stages.duplicates` compares them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from avlake.extractors import base
from avlake.media.clip import SAMPLE_RATE
from avlake.tables import silver

if TYPE_CHECKING:
    from avlake.media.clip import Clip
    from avlake.media.video import Frame

WORDS_PER_S = 25
PICTURES_PER_S = 5
HOP = SAMPLE_RATE // WORDS_PER_S
LENGTH = 6000  # samples a word is made of, 0.375 s: so long that a shift by half a hop changes little
BANDS_HZ = (300.0, 2000.0)  # what every codec and telephone passes
SILENCE = 1e-8  # power below which a moment is digital silence or its dither, -80 dB of full scale
QUIET = 1e-4  # relative to the clip's loudest moment: what codecs replace by noise of their own
CHUNK = 64  # words made at a time
LONGEST_S = 12 * 3600  # what is shown or heard after that is left out: a broken timestamp cannot fill the memory
SHAPE_PX = 32
FLAT = 4.0  # standard deviation of luma below which a picture has no shape
DARK = 24  # luma below which a border is a bar of a letterbox
EDGE = 0.1  # share of a line beside a bar that is lighter
BAR = 0.3  # the most of a side that can be a bar

Floats = np.ndarray[Any, np.dtype[np.float32]]
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class Fingerprints(base.Extractor):
    """NULL for a stream that is not there; empty for sound shorter than one word, 0.375 s."""

    table = silver(
        "fingerprints",
        "perceptual hashes of sound and picture, for finding near duplicates",
        columns={
            # The bits of unsigned words, as signed ones: Delta has no others.
            "audio_hashes": pa.list_(pa.int32()),  # 25 a second from the recording's start; 0 where it is silent
            "frame_hashes": pa.list_(pa.int64()),  # 5 a second; 0 for a picture of one colour
        },
        in_warehouse=False,
    )
    version = 1
    reads = ()

    def watch(self, clip: Clip) -> Pictures:
        return Pictures()

    def measure(self, clip: Clip) -> dict[str, np.ndarray[Any, Any]]:
        row = {"audio_hashes": np.empty(1, object), "frame_hashes": np.empty(1, object)}
        if "video" in clip.streams:
            row["frame_hashes"][0] = np.array(clip.seen(self.name).hashes, np.uint64).view(np.int64)
        if "audio" in clip.streams:
            late = min(round(clip.audio.start_s * WORDS_PER_S), LONGEST_S * WORDS_PER_S)
            words = np.concatenate([np.zeros(late, np.uint32), audio_hashes(clip.audio.samples)])
            row["audio_hashes"][0] = words.view(np.int32)
        return row


EXTRACTOR = Fingerprints


class Pictures:
    """A viewer that hashes the first frame shown in each fifth of a second; where none is new, the last one stays."""

    def __init__(self) -> None:
        self.hashes: list[int] = []

    def see(self, frame: Frame) -> None:
        slot = int(frame.time_s * PICTURES_PER_S + 1e-6)
        if len(self.hashes) <= slot < LONGEST_S * PICTURES_PER_S:
            shown = self.hashes[-1] if self.hashes else 0
            self.hashes += [shown] * (slot - len(self.hashes))
            left, top, width, height = frame.box_px
            self.hashes.append(frame_hash(frame.gray[top : top + height, left : left + width]))


def frame_hash(gray: Pixels) -> int:
    """64 bits of a luma picture (height, width), whatever its size and its black bars; 0 if it is of one colour.

    A bit says if one of 64 low cosine coefficients of the picture at 32 x 32 is above their median.
    """
    import cv2
    from scipy.fft import dctn

    small = np.asarray(cv2.resize(_without_bars(gray), (SHAPE_PX, SHAPE_PX), interpolation=cv2.INTER_AREA), np.float32)
    if small.std() < FLAT:
        return 0
    low = dctn(small, norm="ortho")[:8, 1:9].ravel()  # 32 ones and 32 zeros: never 0
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def audio_hashes(samples: Floats) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """(n_words,) 32 bits each of sound at 16 kHz, the first at its start, 25 a second; 0 where it is silent.

    Bit m says if energy falls from band m to m + 1 of 33 by more than it did a word before.
    """
    n_words = max(0, (len(samples) - LENGTH) // HOP + 1)
    if not n_words:
        return np.zeros(0, np.uint32)
    framed = np.lib.stride_tricks.sliding_window_view(samples, LENGTH)[::HOP][: LONGEST_S * WORDS_PER_S]
    energy = np.concatenate([_bands(framed[i : i + CHUNK]) for i in range(0, len(framed), CHUNK)])
    fall = energy[:, :-1] - energy[:, 1:]
    rise = np.diff(fall, axis=0, prepend=fall[:1])
    words = np.packbits(rise > 0, axis=1).view(">u4")[:, 0].astype(np.uint32)
    power = energy.sum(axis=1)
    heard = power > max(SILENCE, QUIET * float(power.max()))
    heard[0] = False  # nothing came before it
    words[~heard] = 0
    return words


def _bands(framed: Floats) -> Floats:
    """Power in 33 bands of equal ratio: (n_frames, 33)."""
    from scipy.fft import rfft

    window, edges = _window()
    power = np.square(np.abs(rfft(framed * window, axis=1))) * np.float32(2 / (LENGTH * np.square(window).sum()))
    bands: Floats = np.add.reduceat(power, edges, axis=1)[:, :-1]
    return bands


@lru_cache(maxsize=1)
def _window() -> tuple[Floats, np.ndarray[Any, Any]]:
    """A Hann window, and the first bin of each of 33 bands and the one after them."""
    edges_hz = np.geomspace(*BANDS_HZ, 34)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(LENGTH) / LENGTH)).astype(np.float32)
    return window, np.round(edges_hz * LENGTH / SAMPLE_RATE).astype(np.int64)


def _without_bars(gray: Pixels) -> Pixels:
    """The picture without black bars on opposite sides; a dark scene fades into black, where a bar has an edge."""
    for axis in (0, 1):
        lit = (gray > DARK).mean(axis=1 - axis)
        inside, size = np.flatnonzero(lit), gray.shape[axis]
        if len(inside) < SHAPE_PX:
            return gray
        before, after = int(inside[0]), size - 1 - int(inside[-1])
        has_edges = min(lit[inside[1]], lit[inside[-2]]) >= EDGE
        if has_edges and min(before, after) > 0 and max(before, after) <= BAR * size:
            gray = np.take(gray, range(before, size - after), axis=axis)
    return gray
