"""The learner of `sound_effects`: how good are the decisions, as far as people have said what is heard?

It leaves no model, but a verdict. The calibrated decision is made in curate (`avlake.learn.calibration`), where gold
gets its probabilities; here both decisions are compared with people's labels.

verdict.json    words            sentences, the most important one first
                calibrated       are there labels, so that figures have a truth?
                counts           clips, kept, labelled, labelled_sfx, no_sound (clips whose label the index lacks),
                                 by_sound (human_sound -> n), rejected (reason -> n)
                thresholds       those that decided: max_speech_score, max_music_score, max_speech_ratio, decision, ...
                decisions        one entry per decision, `plain` and `calibrated` (and `panns` where it tagged), with
                                 name, in_charge, why_not (null, or why it cannot be judged), threshold (null but for
                                 calibrated: of clips without a label; where all have one, the mean), kept (of all
                                 clips), n (labelled clips),
                                 true_positive, false_positive, false_negative, true_negative,
                                 precision / recall / f1 as {value, ci_low, ci_high} or null (f1 has no interval),
                                 average_precision (or null), errors: [{sound, wrong, of}] by what people heard
                mistakes         up to 50 clips on which the decision in charge and people differ: path, human_sound,
                                 kept, speech_score, music_score, speech_ratio, p_sfx, sound
                throughput       one entry per extractor, and `all`: extractor, clips, seconds, clips_per_s_per_core,
                                 one_million_core_hours
                taggers          null without PANNs; else clips, agreement, both, only_yamnet, only_panns, neither
                measured, settings
metrics.json    the rows of gold.model_runs: models `plain`, `calibrated`, `panns`; split `labelled` (`cv` for
                calibrated); metrics precision, recall, f1, average_precision; and kept_share of split `all`
curves.json     pr: {plain | calibrated: [{threshold, precision, recall}]}, rising thresholds (of plain: 1 - the
                higher of its two scores; of calibrated: the probability); histograms: {speech_score | music_score |
                p_sfx: {edges: (n + 1), all: (n), sfx: (n), other: (n)}}; sfx and other count labelled clips only
card.md         the verdict, to read
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from avlake.errors import RequestError
from avlake.learn import artifacts, filter_scores
from avlake.learn.base import VERDICT, Measured, Model, Place, Progress, Trained
from avlake.learn.filter_scores import Decided, Heard
from avlake.learn.metrics import Score
from avlake.tables import MODEL_RUNS, Table

if TYPE_CHECKING:
    import duckdb

PLAIN, CALIBRATED, PANNS = "plain", "calibrated", "panns"
LABELLED, CV, ALL = "labelled", "cv", "all"
MILLION = 1_000_000
MISTAKES = 50


@dataclass(frozen=True)
class FilteringLearner:
    """Judges gold's decisions; needs no labels, but without them says nothing of precision."""

    version: int = 1  # raised whenever the same table would give another verdict
    table: str = "gold.sound_effects"
    extractors: tuple[str, ...] = ("audio_tags", "speech")
    also_reads: tuple[str, ...] = ("silver.panns_tags",)
    results: Table = MODEL_RUNS
    predicts: bool = False
    answers: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        return {"version": self.version}

    def train(
        self,
        con: duckdb.DuckDBPyConnection,
        measured: Mapping[str, Measured],
        progress: Progress,
        place: Place | None = None,
    ) -> Trained:
        """Compare the decisions with people's labels, and measure what the tagging took."""
        limits = filter_scores.thresholds(con)
        heard = filter_scores.heard(con, self.table)
        decided = [filter_scores.plain(heard, limits), filter_scores.calibrated(heard)]
        taggers = None
        if (other := filter_scores.panns(con, self.table, heard, limits)) is not None:
            decided.append(other)
            taggers = _agreement(decided[0], other)
        found: dict[str, Any] = {
            "calibrated": bool(heard.labelled.any()),
            "counts": _counts(heard),
            "thresholds": limits.model_dump(mode="json"),
            "decisions": [_judged(one, heard, limits.decision) for one in decided],
            "mistakes": _mistakes(heard),
            "throughput": throughput(con, self.table),
            "taggers": taggers,
            "measured": {name: asdict(one) for name, one in measured.items()},
            "settings": self.identity(),
        }
        found["words"] = words(found)
        scores = [s for one in found["decisions"] for s in _scores(one, len(heard.paths))]
        curves = {
            "pr": {one.name: filter_scores.curve(one, heard) for one in decided if one.name != PANNS},
            "histograms": filter_scores.histograms(heard),
        }
        files = {
            VERDICT: artifacts.to_json(found),
            "metrics.json": artifacts.to_json([asdict(s) for s in scores]),
            "curves.json": artifacts.to_json(curves),
            "card.md": card(found).encode(),
        }
        progress("judge", 1, 1)
        return Trained(limits.decision, self.identity(), scores, files)

    def load(self, files: Mapping[str, bytes]) -> Model:
        """Raises:
        RequestError: always: it leaves no model.
        """
        raise RequestError(f"sound_effects has no model that judges files: its decisions are in {self.table}")


def throughput(con: duckdb.DuckDBPyConnection, table: str) -> list[dict[str, Any]]:
    """What each extractor took of the clips in a gold table, and all of them together, decoding included.

    The whole is the processor's time of the runs, where they measured any; else the sum of the extractors.
    """
    rows = con.execute(
        f"""SELECT extractor, count(*), sum(seconds) FROM ops.extractions SEMI JOIN {table} USING (file_id)
        WHERE status = 'ok' GROUP BY extractor HAVING sum(seconds) > 0 ORDER BY extractor"""
    ).fetchall()
    clips, seconds = con.execute(
        """SELECT sum(files), sum(coalesce(cpu_s, seconds)) FROM ops.runs
        WHERE pipeline = 'sound_effects' AND stage = 'extract' AND files > 0"""
    ).fetchall()[0]
    if clips and seconds:
        rows.append(("all", clips, seconds))
    return [
        {
            "extractor": name,
            "clips": int(n),
            "seconds": float(took),
            "clips_per_s_per_core": n / took,
            "one_million_core_hours": took / n * MILLION / 3600,
        }
        for name, n, took in rows
    ]


def words(found: Mapping[str, Any]) -> list[str]:
    """The verdict in sentences, the most important one first; from the rest of verdict.json."""
    counts = found["counts"]
    kept = f"{counts['kept']} of {counts['clips']} clips are kept, by the {found['thresholds']['decision']} decision"
    if not found["calibrated"]:
        said = [
            f"{kept}; uncalibrated: nobody has labelled a clip, so how many of them are right is unknown.",
            "Label some and import them with `avlake labels import FILE --by NAME`: so precision and recall get known.",
        ]
    else:
        judged = sorted(found["decisions"], key=lambda one: not one["in_charge"])
        said = [_said(one, counts) for one in judged]
        said.append(f"{kept}. People have labelled {counts['labelled']}.")
    if taggers := found["taggers"]:
        said.append(
            f"YAMNet and PANNs decide alike on {taggers['agreement']:.1%} of {taggers['clips']} clips; "
            f"{taggers['only_yamnet']} are kept by YAMNet alone, {taggers['only_panns']} by PANNs alone."
        )
    for row in found["throughput"]:
        if row["extractor"] == ALL:
            said.append(
                f"Measuring takes {1 / row['clips_per_s_per_core']:.2f} s of one core per clip, "
                f"{row['clips_per_s_per_core']:.1f} clips per second and core: one million clips take "
                f"{row['one_million_core_hours']:.0f} core hours."
            )
    return said


def card(found: Mapping[str, Any]) -> str:
    """Markdown, every figure from verdict.json."""
    lines = ["# Which clips have nothing but sound effects?", "", *(f"- {sentence}" for sentence in found["words"])]
    for one in found["decisions"]:
        if one["errors"]:
            lines += ["", f"## Mistakes of the {one['name']} decision, by what people hear", ""]
            lines += [f"- {e['sound']}: {e['wrong']} of {e['of']}" for e in one["errors"]]
    return "\n".join([*lines, ""])


def _said(one: Mapping[str, Any], counts: Mapping[str, Any]) -> str:
    if one["why_not"]:
        return f"The {one['name']} decision cannot be judged: {one['why_not']}."
    if one["precision"] is None:
        return f"The {one['name']} decision keeps none of {counts['labelled']} labelled clips."
    p, r = one["precision"], one["recall"]
    held_out = ", each judged without itself" if one["name"] == CALIBRATED else ""
    recall = f", recall {r['value']:.3f} [{r['ci_low']:.3f}, {r['ci_high']:.3f}]" if r else ""
    return (
        f"The {one['name']} decision: precision {p['value']:.3f} [{p['ci_low']:.3f}, {p['ci_high']:.3f}]{recall}, "
        f"on {one['n']} labelled clips{held_out}; 95 % intervals."
    )


def _judged(one: Decided, heard: Heard, in_charge: str) -> dict[str, Any]:
    """An entry of `decisions`."""
    entry: dict[str, Any] = {
        "name": one.name,
        "in_charge": one.name == in_charge,
        "why_not": one.why_not or (None if heard.labelled.any() else "nobody has labelled a clip"),
        "threshold": one.threshold,
        "kept": int(one.kept.sum()),
        **filter_scores.compare(one, heard),
    }
    return entry


def _counts(heard: Heard) -> dict[str, Any]:
    sounds, n = np.unique(heard.human[heard.labelled].astype(str), return_counts=True)
    reasons = [reason for row in heard.reasons for reason in (row or "").split(",") if reason]
    names, times = np.unique(np.array(reasons, str), return_counts=True)
    return {
        "clips": len(heard.paths),
        "kept": int(heard.kept.sum()),
        "labelled": int(heard.labelled.sum()),
        "labelled_sfx": int(heard.is_sfx.sum()),
        "no_sound": int(sum(sound is None for sound in heard.sound)),
        "by_sound": dict(zip(sounds.tolist(), n.tolist(), strict=True)),
        "rejected": dict(zip(names.tolist(), times.tolist(), strict=True)),
    }


def _mistakes(heard: Heard) -> list[dict[str, Any]]:
    wrong = np.flatnonzero(heard.labelled & (heard.kept != heard.is_sfx)).tolist()
    wrong = sorted(wrong, key=lambda i: (not heard.kept[i], heard.paths[i]))[:MISTAKES]
    return [heard.row(i) for i in wrong]


def _agreement(yamnet: Decided, other: Decided) -> dict[str, Any]:
    a, b = yamnet.kept[other.measured], other.kept[other.measured]
    return {
        "clips": len(a),
        "agreement": float((a == b).mean()),
        "both": int((a & b).sum()),
        "only_yamnet": int((a & ~b).sum()),
        "only_panns": int((b & ~a).sum()),
        "neither": int((~a & ~b).sum()),
    }


def _scores(one: Mapping[str, Any], clips: int) -> list[Score]:
    split = CV if one["name"] == CALIBRATED else LABELLED
    found = []
    for metric in ("precision", "recall", "f1"):
        if share := one[metric]:
            found.append(Score(one["name"], split, metric, share["value"], share["ci_low"], share["ci_high"], one["n"]))
    if one["average_precision"] is not None:
        found.append(Score(one["name"], split, "average_precision", one["average_precision"], None, None, one["n"]))
    if clips and (one["name"] != CALIBRATED or one["threshold"] is not None):  # without labels it decides nothing
        found.append(Score(one["name"], ALL, "kept_share", one["kept"] / clips, None, None, clips))
    return found


LEARNER = FilteringLearner()
