"""How well the faces of some videos were judged: the figures of one row of `avlake evaluate`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from avlake.learn.average_precision import average_precisions
from avlake.learn.metrics import with_draws

Array = np.ndarray[Any, Any]
SMALL_PX, LARGE_PX = 64, 128  # of a face's width, as AVA's authors tell small from middle and large ones
CELLS = 4_000_000  # of draws x faces that are held at once
FIGURES = (
    "average_precision",  # of SPEAKING_AUDIBLE, the metric of AVA-ActiveSpeaker
    "ci_low",  # of 95 %
    "ci_high",
    "average_precision_small",  # of small, middle and large faces
    "average_precision_middle",
    "average_precision_large",
    "average_precision_1_faces",  # where so many faces are on screen
    "average_precision_2_faces",
    "average_precision_3_faces",  # or more
    "faces",
    "speaking",  # of them, so that they are heard
    "missing",  # of them, of which the model says nothing
)


def figures(faces: pa.Table, scores: Array) -> list[float | int | None]:
    """`FIGURES` of n faces, None where one is undefined.

    Args:
        faces: rows of gold.active_speaker_frames: file_id, scene, audible, face_px, faces_on_screen.
        scores: (n,), NaN where a model says nothing; who speaks there is never found.
    """
    y, missing = faces["audible"].to_numpy(), np.isnan(scores)
    width_px, beside = (faces[name].to_numpy() for name in ("face_px", "faces_on_screen"))
    small, large = width_px < SMALL_PX, width_px > LARGE_PX
    parts = (small, ~small & ~large, large, beside == 1, beside == 2, beside >= 3)
    whole = _precisions(y, scores, np.ones((1, len(y))))[0]
    return [
        _defined(whole),
        *_interval(y, scores, _scenes(faces)),
        *(_defined(_precisions(y[part], scores[part], np.ones((1, part.sum())))[0]) for part in parts),
        len(y),
        int(y.sum()),
        int(missing.sum()),
    ]


def _interval(y: Array, scores: Array, scene: Array) -> tuple[float | None, float | None]:
    """Percentiles over draws of whole scenes: faces of one scene are not independent; None for a single one."""
    drawn = with_draws(np.zeros(scene.max() + 1))[1:]
    if drawn.shape[1] < 2:
        return None, None
    step = max(1, CELLS // len(y))
    parts = [_precisions(y, scores, drawn[i : i + step][:, scene]) for i in range(0, len(drawn), step)]
    found = np.concatenate(parts)
    found = found[np.isfinite(found)]  # a draw may hold nobody who speaks
    if not len(found):
        return None, None
    low, high = np.quantile(found, (0.025, 0.975)).tolist()
    return low, high


def _precisions(y: Array, scores: Array, weights: Array) -> Array:
    """Average precision for each row of `weights`; positives without a score are never found."""
    known = np.isfinite(scores)
    with np.errstate(invalid="ignore"):
        share = weights[:, known] @ y[known] / (weights @ y)
    return np.where(share == 0, 0.0, share * average_precisions(y[known], scores[known], weights[:, known]))


def _scenes(faces: pa.Table) -> Array:
    """A number per face: which scene of which video it is in."""
    columns = faces["file_id"].to_pylist(), faces["scene"].to_pylist()
    known = {key: i for i, key in enumerate(dict.fromkeys(zip(*columns, strict=True)))}
    return np.array([known[key] for key in zip(*columns, strict=True)])


def _defined(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
