"""How well faces are judged: average precision with intervals, differences of models, and of faces of a kind.

Faces of a scene are not independent, so the bootstrap draws whole scenes, with replacement (Efron & Tibshirani 1993,
ch. 8; percentile intervals). Every model meets the same draws, so that the interval of a difference is a paired one.
Scenes that share their people are not quite independent either: where a handful of people is in all of them, the
intervals are rather too narrow.

Faces of equal score, as two on screen have by loudness alone, count in a random order, the same for all models: the
metric takes them in the order of rows, but a drawn table has none, and rows that lie together are of one track, which
would lift `always_speaking` above the share of faces that are heard. Without equal scores the figure is the official.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from avlake.learn.average_precision import average_precision, average_precisions
from avlake.learn.metrics import REPLICATES, Score, with_draws

AP = "average_precision"
MINUS = "_minus_"
SMALL_PX, LARGE_PX = 64, 128  # of a face's width, as the paper of AVA-ActiveSpeaker divides them
MOST_FACES = 3  # on screen, or more
MOST_CELLS = 400_000_000  # draws x faces; of more faces there are fewer draws
FEWEST_DRAWS = 200

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Faces:
    """Labelled faces, in any order."""

    y: Bools  # (n,) speaks and is heard
    scene: npt.NDArray[np.generic]  # (n,) what is drawn as one: any names or numbers
    face_px: Floats  # (n,) width in the video
    faces_on_screen: npt.NDArray[np.int_]  # (n,) at its time


def scores_of_faces(
    faces: Faces, said: Mapping[str, Floats], *, split: str, compared: str = "network", seed: int = 0
) -> list[Score]:
    """Average precision of every model with its 95 % interval, by kind of face too, and what `compared` has over all.

    A figure of faces without both classes has no row; an interval needs two scenes.

    Args:
        said: (n,) scores of each model; NaN where it did not judge a face: its figure is of the others, and a
            difference is of the faces that both have judged.
        compared: the model whose differences from all others are told, as `<compared>_minus_<other>`.
    """
    _, code = np.unique(faces.scene, return_inverse=True)
    draws = with_draws(np.zeros(int(code.max(initial=-1)) + 1, dtype=int), seed)
    draws = draws[1 : 1 + max(FEWEST_DRAWS, min(REPLICATES, MOST_CELLS // max(1, len(code))))]
    shuffled = np.random.default_rng(seed).permutation(len(code))
    done: dict[tuple[str, bytes], Floats] = {}  # a difference is of figures that are there already

    def drawn(model: str, some: Bools) -> Floats:
        """The figure, and then that of each draw of scenes."""
        key = model, some.tobytes()
        if key not in done:
            order = shuffled[some[shuffled]]
            y, scores = faces.y[order], said[model][order]
            done[key] = np.append(average_precision(y, scores), average_precisions(y, scores, draws, code[order]))
        return done[key]

    def score(model: str, metric: str, values: Floats, some: Bools) -> Score:
        others = values[1:][np.isfinite(values[1:])]
        low, high = np.quantile(others, (0.025, 0.975)).tolist() if len(np.unique(code[some])) > 1 else (None, None)
        return Score(model, split, metric, float(values[0]), low, high, int(some.sum()))

    def found() -> Iterator[Score]:
        for model, scores in said.items():
            for metric, kind in _kinds(faces):
                if _mixed(faces.y, some := kind & ~np.isnan(scores)):
                    yield score(model, metric, drawn(model, some), some)
        for other in said:
            both = ~np.isnan(said[compared]) & ~np.isnan(said[other]) if compared in said else np.zeros(0, bool)
            if other != compared and _mixed(faces.y, both):
                yield score(f"{compared}{MINUS}{other}", AP, drawn(compared, both) - drawn(other, both), both)

    return list(found())


def _kinds(faces: Faces) -> Iterator[tuple[str, Bools]]:
    """The metric of all faces and of each kind, and which faces those are."""
    px, on_screen = faces.face_px, np.minimum(faces.faces_on_screen, MOST_FACES)
    yield AP, np.ones(len(faces.y), bool)
    yield f"{AP}_small", px < SMALL_PX
    yield f"{AP}_middle", (px >= SMALL_PX) & (px <= LARGE_PX)
    yield f"{AP}_large", px > LARGE_PX
    for count in range(1, MOST_FACES + 1):
        yield f"{AP}_{count}_faces", on_screen == count


def _mixed(y: Bools, some: Bools) -> bool:
    return bool(some.any()) and len(np.unique(y[some])) == 2
