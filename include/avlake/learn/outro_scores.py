"""How good the vote and the outros are on episodes that the models have not seen; intervals resample episodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avlake.learn.boundaries import NEAR_S, Found
from avlake.learn.metrics import Score, Scored, intervals, resampled, scores_of_mixed, wilson, with_draws
from avlake.learn.segments import CLASSES, KINDS, Episode, Segments
from avlake.learn.trial import MACHINE, TESTABLE, Trial, lacking
from avlake.learn.vote import VOTE, WEIGHTS

Array = np.ndarray[Any, Any]

CV = "cv"
MAJORITY = "always_the_majority"
MACHINE_LABELS = "machine_labels"
F1 = "segment_macro_f1"
KINDS_F1 = "kinds_macro_f1"
NEAR = "outro_within_2_s"
INVENTED = "outro_invented"
UNVERIFIED = "unverified"

RIGHT, OFF, MISSED, MADE_UP, UNLABELLED = "right", "off", "missed", "invented", "unlabelled"


@dataclass(frozen=True)
class Outro:
    """What was found in an episode, against what a person said of it."""

    episode: Episode
    found: Found

    @property
    def error_s(self) -> float | None:
        """Found minus labelled."""
        if self.found.outro_start_s is None or self.episode.outro_start_s is None:
            return None
        return self.found.outro_start_s - self.episode.outro_start_s

    @property
    def result(self) -> str:
        """right | off | missed | invented | unlabelled."""
        if self.episode.has_outro is None:
            return UNLABELLED
        if self.found.outro_start_s is None:
            return MISSED if self.episode.has_outro else RIGHT
        if not self.episode.has_outro:
            return MADE_UP
        return RIGHT if abs(self.error_s or 0.0) <= NEAR_S else OFF

    def described(self) -> dict[str, Any]:
        """Its entry of outros.json."""
        one, found = self.episode, self.found
        return {
            "file_id": one.file_id,
            "path": one.path,
            "duration_s": one.duration_s,
            "labelled": one.has_outro is not None,
            "has_outro": one.has_outro,
            "label_outro_start_s": one.outro_start_s,
            "label_intro_end_s": one.intro_end_s,
            "outro_start_s": found.outro_start_s,
            "intro_end_s": found.intro_end_s,
            "confidence": found.confidence,
            "error_s": self.error_s,
            "result": self.result,
        }


def segment_scores(segments: Segments, trial: Trial) -> list[Score]:
    """Every metric of each part, of the vote and of what is to be beaten, and the vote against its parts."""
    if trial.judged is None:
        return [Score(VOTE, CV, UNVERIFIED, 1.0, None, None, len(segments))]
    y, path, item = segments.y[trial.rows], segments.path[trial.rows], segments.file_id[trial.rows]
    scored = {name: Scored(p, y, path, item) for name, p in trial.judged.music.items()}
    share = float(y.mean() >= 0.5)
    scored[MAJORITY] = Scored(np.full(len(y), share), y, path, item)
    table = []
    for name, one in scored.items():
        table += scores_of_mixed(one, level="segment", model=name, split=CV, classes=CLASSES)
    table += _machine(segments, trial)
    table += [_difference(scored[VOTE], scored[part], part) for part in WEIGHTS]
    return [*table, *_kinds(segments, trial)]


def _machine(segments: Segments, trial: Trial) -> list[Score]:
    """How the labels that machines gave do, where they gave one."""
    said = segments.machine[trial.rows]
    rows = trial.rows[said != ""]
    if not len(rows):
        return []
    p = (segments.machine[rows] != "dialogue").astype(float)
    one = Scored(p, segments.y[rows], segments.path[rows], segments.file_id[rows])
    return scores_of_mixed(one, level="segment", model=MACHINE_LABELS, split=CV, classes=CLASSES)


def _difference(vote: Scored, part: Scored, name: str) -> Score:
    """The macro-F1 of the vote minus that of a part, on the same drawn episodes."""
    weights = with_draws(np.zeros(len(np.unique(vote.group)), dtype=int))
    gap = resampled(vote, weights, CLASSES)["macro_f1"] - resampled(part, weights, CLASSES)["macro_f1"]
    (found,) = intervals({"macro_f1": gap}, "segment", f"vote_minus_{name}", CV, len(vote.y))
    return found


def _kinds(segments: Segments, trial: Trial) -> list[Score]:
    """Macro-F1 of the three classes, where each is labelled in enough episodes."""
    truth, path = segments.kind[trial.rows], segments.path[trial.rows]
    if trial.judged is None or lacking(truth, path, TESTABLE, len(KINDS)):
        return []
    said = np.array([KINDS.index(name) for name in trial.judged.predicted])
    _, code = np.unique(path, return_inverse=True)
    n_groups = int(code.max()) + 1
    counts = np.zeros((n_groups, len(KINDS), len(KINDS)))
    np.add.at(counts, (code, truth, said), 1)
    drawn = np.einsum("bg,gij->bij", with_draws(np.zeros(n_groups, dtype=int)), counts)
    hits = np.diagonal(drawn, axis1=1, axis2=2)
    with np.errstate(invalid="ignore"):
        f1 = (2 * hits / (drawn.sum(axis=1) + drawn.sum(axis=2))).mean(axis=1)
    return list(intervals({"macro_f1": f1}, "kinds", VOTE, CV, len(truth)))


def outro_scores(outros: Iterable[Outro], split: str = CV) -> list[Score]:
    """How many outros were found near the truth, and how many where there is none; shares with Wilson's intervals."""
    known = [one for one in outros if one.result != UNLABELLED]
    having = [one for one in known if one.episode.has_outro]
    without = [one for one in known if not one.episode.has_outro]
    table = []
    if having:
        table.append(_share(NEAR, sum(one.result == RIGHT for one in having), len(having), split))
    if without:
        table.append(_share(INVENTED, sum(one.result == MADE_UP for one in without), len(without), split))
    errors = [abs(one.error_s) for one in having if one.error_s is not None]
    if errors:
        table.append(Score(VOTE, split, "outro_median_error_s", float(np.median(errors)), None, None, len(errors)))
    return table


def _share(metric: str, count: int, n: int, split: str) -> Score:
    low, high = wilson(count, n)
    return Score(VOTE, split, metric, count / n, low, high, n)


def words(table: Sequence[Score], outros: Sequence[Outro], counts: Mapping[str, Any]) -> list[str]:
    """The verdict in sentences, the most important first; every figure from the table of scores."""
    at = {(s.model, s.metric): s for s in table}
    said = []
    if (VOTE, F1) in at:
        parts = ", ".join(_against(at[f"vote_minus_{part}", F1], part) for part in WEIGHTS)
        said.append(
            f"macro-F1 {_interval(at[VOTE, F1])} over {counts['tested_episodes']} episodes not seen in training, music "
            f"against dialogue; the vote {parts}"
        )
    else:
        said.append(
            f"unverified: people have labelled {counts['human_segments']} segments of {counts['human_episodes']} "
            f"episodes, {TESTABLE} episodes with each class are needed for a figure; run `avlake labels import`"
        )
    said.append(_outro_words(at, outros))
    if (VOTE, KINDS_F1) in at:
        said.append(f"macro-F1 {_interval(at[VOTE, KINDS_F1])} of music, dialogue and both")
    if counts["seeded"]:
        said.append(
            f"machine labels of {counts['machine_segments']} segments were learned from, too; no figure has one"
        )
    return said


def _outro_words(at: Mapping[tuple[str, str], Score], outros: Sequence[Outro]) -> str:
    near, made_up = at.get((VOTE, NEAR)), at.get((VOTE, INVENTED))
    if near is None and made_up is None:
        found = sum(one.found.outro_start_s is not None for one in outros)
        return f"unverified: an outro in {found} of {len(outros)} episodes; nobody has labelled one"
    said = []
    if near is not None:
        said.append(f"outro within {NEAR_S:.0f} s for {round(near.value * near.n)} of {near.n} {_range(near)}")
    if made_up is not None:
        count = round(made_up.value * made_up.n)
        said.append(f"{count or 'none'} invented in {made_up.n} episodes without one {_range(made_up)}")
    return ", ".join(said)


def _against(gap: Score, part: str) -> str:
    called = part.replace("_", " ")
    if gap.ci_low is not None and gap.ci_low > 0:
        verdict = "beats"
    elif gap.ci_high is not None and gap.ci_high < 0:
        verdict = "does worse than"
    else:
        verdict = "is not shown to beat"
    return f"{verdict} {called} ({gap.value:+.3f} {_range(gap, '+.3f')})"


def _interval(score: Score) -> str:
    return f"{score.value:.3f} {_range(score, '.3f')}"


def _range(score: Score, form: str = ".2f") -> str:
    return "" if score.ci_low is None else f"[{score.ci_low:{form}}, {score.ci_high:{form}}]"


def counts_of(segments: Segments, trial: Trial, seeded: bool) -> dict[str, Any]:
    """How many labels of whom there are."""
    human, machine = segments.human, segments.kept & (segments.source == MACHINE)
    return {
        "segments": len(segments),
        "episodes": len(np.unique(segments.path)),
        "human_segments": int(human.sum()),
        "human_episodes": len(np.unique(segments.path[human])),
        "machine_segments": int(machine.sum()),
        "tested_segments": len(trial.rows),
        "tested_episodes": len(np.unique(segments.path[trial.rows])),
        "seeded": seeded,
        "kinds": {name: int((segments.label[human] == name).sum()) for name in KINDS},
    }
