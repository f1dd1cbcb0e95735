"""The learner of `active_speaker`: which of the faces on screen is the voice that is heard?

One network (`speaker_net`) is trained on scenes, judged on videos it has not seen and, where people said who the tracks
show, on scenes none of whose people it has seen; then once more on everything. What a training leaves:

model.safetensors    the network that predicts, trained on every labelled video
checkpoints/         the networks that were judged, each trained without the videos of its test
features.json        what the model is: model, measured, drops, videos, options, recipe, parameters (how many),
                     versions, counts (of what was learned from), pretraining (scenes; was it used?), trainings_at_once
metrics.json         the rows of gold.model_runs; models network, network_without_augmentation, network_with_pretraining
                     (or network_without_pretraining), always_speaking, loudness, motion_x_energy and
                     `network_minus_<another>`; splits `cv` (folds by whole videos, which share their talkers),
                     `cv_unseen_talkers` and, of many videos, `test` instead of `cv`; metric average_precision, and that
                     of faces by size and by how many are on screen
curves.json          of each training its epochs: epoch, loss, validation_loss, validation_ap
tensorboard/         the same as event files
predictions.parquet  one row per labelled face that gold keeps, with the score of each model that had not seen it
verdict.json         `words` for people, the most important first
reference.npz        what the faces looked like, for drift
card.md              the model card

Where to read on, `speaker_` before each name: what there is to learn from is in `data` (tracks, and scenes at moments),
read by `cache`, and by `pretraining` from talking heads. `course` says which trainings there are, by `folds`; `trial`
does them beside each other; `training` is the loop of one, by `batch`, `net` and `loss`, noted by `checkpoints` and
`logs`. `judging` asks a network, `model` is a saved one. `results` compares what was said, with `baselines`, by
`scores` and `average_precision`; `card` says it in words, `plots` draws it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from avlake.errors import WorkError
from avlake.learn import artifacts
from avlake.learn.base import VERDICT, Measured, Place, Progress, Trained
from avlake.learn.drift import Reference
from avlake.learn.speaker_cache import read_tracks
from avlake.learn.speaker_card import speaker_card, words
from avlake.learn.speaker_checkpoints import dump, network, parse
from avlake.learn.speaker_course import NETWORK, Course, Outcome
from avlake.learn.speaker_data import scenes_of
from avlake.learn.speaker_logs import logs_of
from avlake.learn.speaker_model import SpeakersModel, reference_of
from avlake.learn.speaker_net import VERSION, SpeakerNet
from avlake.learn.speaker_pretraining import FEWEST, talking_heads
from avlake.learn.speaker_results import Results
from avlake.learn.speaker_training import Recipe, Workshop
from avlake.learn.speaker_trial import at_once
from avlake.tables import MODEL_RUNS, Table
from avlake.thresholds import ActiveSpeakerThresholds

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class SpeakersLearner:
    version: int = 2  # raised whenever the same table would give another model
    table: str = "gold.active_speaker_frames"
    extractors: tuple[str, ...] = ("face_tracks",)
    also_reads: tuple[str, ...] = ()
    results: Table = MODEL_RUNS
    predicts: bool = True
    answers: tuple[str, ...] = ("score",)
    checkpoint_s: float = 10.0  # between two checkpoints of a training

    def identity(self) -> dict[str, Any]:
        recipe = {name: value for name, value in asdict(Recipe()).items() if name not in ("epochs", "seed", "augment")}
        return {"version": self.version, "network": VERSION, "recipe": recipe, "torch": torch.__version__.split("+")[0]}

    def train(
        self,
        con: duckdb.DuckDBPyConnection,
        measured: Mapping[str, Measured],
        progress: Progress,
        place: Place | None = None,
    ) -> Trained:
        """Judge networks on what they have not seen, then learn from everything.

        Raises:
            WorkError: where gold holds too little to learn from, or the loss of a training is not finite.
        """
        if place is None or not isinstance(place.options, ActiveSpeakerThresholds):
            raise WorkError("faces are learned from the lake, not from the warehouse alone: run `avlake train`")
        with tempfile.TemporaryDirectory(prefix="avlake_faces_") as folder:
            labelled, heads = Path(folder, "labelled"), Path(folder, "heads")
            labelled.mkdir()
            heads.mkdir()
            tracks = read_tracks(con, self.table, place.silver, labelled)
            scenes = scenes_of(tracks)
            options = place.options
            asked = options.pretrain or options.compare
            unlabelled = talking_heads(place.silver, heads, tracks) if asked else []
            workshop = Workshop(place.store, place.folder, self.checkpoint_s)
            course = Course(tracks, scenes, unlabelled, options, workshop)
            return self._trained(course, course.run(progress), measured)

    def load(self, files: Mapping[str, bytes]) -> SpeakersModel:
        """Load what `train` left.

        Raises:
            WorkError: if a file is missing or damaged, or of another version of the network.
        """
        if "model.safetensors" not in files:
            raise WorkError("the model's folder lacks model.safetensors; train again")
        model = self.checkpoint(files["model.safetensors"], "model.safetensors")
        try:
            return replace(model, reference=Reference.from_bytes(files["reference.npz"]))
        except (ValueError, KeyError, OSError) as error:
            raise WorkError(f"the model's reference.npz is damaged ({error!r}); train again") from None

    def checkpoint(self, data: bytes, name: str) -> SpeakersModel:
        """A model from one safetensors file alone.

        Raises:
            WorkError: if it is damaged, no checkpoint of this learner, or one of another version of its network.
        """
        tensors, about = parse(data, name)
        try:
            measured = {key: Measured(**one) for key, one in about["measured"].items()}
            drops, videos = tuple(map(str, about["drops"])), frozenset(map(str, about["videos"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise WorkError(f"{name} does not say what it was trained on ({error!r}); train again") from None
        return SpeakersModel(self.table, network(tensors, name), drops, videos, measured)

    def _trained(self, course: Course, outcome: Outcome, measured: Mapping[str, Measured]) -> Trained:
        options, final = course.options.for_training(), outcome.final
        told = {"measured": {name: asdict(one) for name, one in measured.items()}, "options": options}
        results = Results(course.tracks, outcome.trial.scores)
        table = results.table()
        description = told | {
            "model": NETWORK,
            "drops": sorted({track.drop for track in course.tracks}),
            "videos": sorted({track.video_id for track in course.tracks}),
            "recipe": asdict(final.recipe),
            "parameters": sum(one.numel() for one in SpeakerNet().parameters()),
            "versions": self.identity(),
            "counts": course.counts(),
            "pretraining": {"scenes": len(course.heads), "least": FEWEST, "used": final.pretrained},
            "trainings_at_once": at_once(),
        }
        said = words(table, description)
        files = {name: dump(fitted.state, told | course.about(plan, fitted)) for name, plan, fitted in outcome.kept()}
        files |= logs_of(outcome.trial.fitted) | {
            "features.json": artifacts.to_json(description),
            "metrics.json": artifacts.to_json([asdict(score) for score in table]),
            "predictions.parquet": results.predictions(),
            "reference.npz": reference_of(course.tracks).to_bytes(),
            VERDICT: artifacts.to_json({"words": said}),
            "card.md": speaker_card(description, table, said).encode(),
        }
        return Trained(NETWORK, {**options, **asdict(final.recipe)}, table, files)


LEARNER = SpeakersLearner()
