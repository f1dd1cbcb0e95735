"""Sample: which delivered clips a pipeline is about, decided from their paths alone, before anything is decoded.

A clip's place in the draw is sha256(seed, file_id) and nothing else: a new drop may push a clip out of a sample, but it
reorders nobody, and the same lake gives the same sample on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from avlake.datasets.voxceleb import LAYOUT, MAC, VIDEOS
from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.learn.diagnosis import Diagnosis, count, diagnose
from avlake.pipelines import Pipeline
from avlake.stages import bounded, relations
from avlake.stages.takedowns import excluded
from avlake.tables import BRONZE_FILES
from avlake.thresholds import Sampling, Thresholds

CLIPS = f"""
CREATE TABLE clips AS
WITH placed AS (
    SELECT
        file_id, dataset, drop_date, path, size_bytes, sha256, licence, source,
        unnest(regexp_extract(path, '{LAYOUT}', ['subject_id', 'video_id', 'clip'], 'i')),
        sha256(threshold('sample_seed')::BIGINT || '/' || file_id) AS draw
    FROM delivered
    WHERE dataset = '{{dataset}}' AND regexp_matches(path, '{LAYOUT}', 'i') AND NOT regexp_matches(path, '{MAC}')
),
speakers AS (
    SELECT
        subject_id,
        count(*) AS speaker_clips,
        row_number() OVER (ORDER BY count(*) DESC, min(draw)) AS speaker_rank
    FROM placed
    GROUP BY subject_id
),
ranked AS (
    SELECT
        *,
        row_number() OVER (ORDER BY draw) AS nth,
        row_number() OVER (PARTITION BY subject_id ORDER BY draw) AS nth_of_speaker
    FROM placed JOIN speakers USING (subject_id)
)
SELECT
    * EXCLUDE (clip, draw, speaker_rank, nth, nth_of_speaker),
    CASE setting('sampling')
        WHEN 'random' THEN nth <= threshold('sample_clips')
        WHEN 'top_speakers' THEN speaker_rank <= threshold('top_speakers')
        WHEN 'per_speaker' THEN nth_of_speaker <= threshold('clips_per_speaker')
        ELSE true
    END AS sampled
FROM ranked
"""

OUTSIDE = f"""
SELECT count(*), min(path) FROM delivered
WHERE dataset = ? AND NOT regexp_matches(path, '{LAYOUT}', 'i') AND NOT regexp_matches(path, '{MAC}')
    AND (starts_with(media_type, 'video/') OR regexp_matches(path, '\\.(?:{VIDEOS})$', 'i'))
"""


@dataclass(frozen=True)
class Analysis:
    """What was delivered, what of it is sampled, and whether that can train the proxy task."""

    drops: int
    clips: int
    speakers: int
    videos: int
    fewest: int  # clips of a speaker
    median: float
    most: int
    sampling: str
    sampled: int
    task: Diagnosis  # of the sampled clips
    outside: int = 0  # files of video that do not lie in the dataset's layout: nobody knows who is in them
    example: str | None = None  # one of them

    def lines(self) -> list[str]:
        """In words, a line each."""
        spread = f"clips per speaker {self.fewest} to {self.most}, {self.median:g} in the median"
        said = [
            f"clips  {count(self.clips, 'clip')} of {count(self.speakers, 'speaker')} and "
            f"{count(self.videos, 'source video')} in {count(self.drops, 'drop')}; {spread}",
            f"sample  {self.sampling}: {self.sampled} of {count(self.clips, 'clip')}",
        ]
        if self.outside:
            said.insert(
                1, f"outside  {count(self.outside, 'video file')} not in the layout, e.g. {self.example}: left out"
            )
        return [*said, f"task  {'can be trained' if self.task.trainable else 'hopeless'}: {self.task.reason}"]


def show_delivered(con: duckdb.DuckDBPyConnection, lake: Lake, dataset: str) -> None:
    """Make `delivered` a view of all clips in bronze, measured or not, without those taken down."""
    drops = [drop for drop in lake.drops(BRONZE_FILES.name) if drop[0] == dataset]
    data = lake.scan(BRONZE_FILES.name, drops)
    empty = BRONZE_FILES.schema.empty_table()
    con.register("delivered_files", empty if data is None else excluded(lake, drops).without(data))
    relations.show_current(con, "delivered", "delivered_files")


def clips(con: duckdb.DuckDBPyConnection, dataset: str) -> None:
    """Create the relation `clips`: one row per clip delivered, `sampled` or not; thresholds must be shown."""
    con.execute(CLIPS.format(dataset=dataset))


def restrict(con: duckdb.DuckDBPyConnection, lake: Lake, pipeline: Pipeline, thresholds: Thresholds) -> bool:
    """Create `clips` where a sample, not all, is to be measured; returns whether that is so."""
    if not isinstance(thresholds, Sampling) or thresholds.sampling == "all":
        return False
    relations.show_thresholds(con, thresholds)
    show_delivered(con, lake, pipeline.dataset.name)
    clips(con, pipeline.dataset.name)
    return True


def analyse(lake: Lake, pipeline: Pipeline, thresholds: Sampling) -> Analysis:
    """Count what was delivered and sampled, and diagnose the task."""
    with bounded.connect() as con:
        relations.show_thresholds(con, thresholds)
        show_delivered(con, lake, pipeline.dataset.name)
        clips(con, pipeline.dataset.name)
        drops, delivered, speakers, videos = con.execute(
            """SELECT count(DISTINCT drop_date), count(*), count(DISTINCT subject_id),
                count(DISTINCT (subject_id, video_id)) FROM clips"""
        ).fetchall()[0]
        fewest, median, most = con.execute(
            """SELECT coalesce(min(n), 0), coalesce(median(n), 0), coalesce(max(n), 0)
            FROM (SELECT max(speaker_clips) AS n FROM clips GROUP BY subject_id)"""
        ).fetchall()[0]
        outside, example = con.execute(OUTSIDE, [pipeline.dataset.name]).fetchall()[0]
        who = con.execute("SELECT subject_id, video_id FROM clips WHERE sampled").fetchall()
    task = diagnose([subject for subject, _ in who], [video for _, video in who])
    spoken = thresholds.in_words()
    return Analysis(drops, delivered, speakers, videos, fewest, median, most, spoken, len(who), task, outside, example)


def require(lake: Lake, pipeline: Pipeline, thresholds: Thresholds) -> None:
    """Hold the sample to what the thresholds ask of it.

    Raises:
        RequestError: if the task has to be trainable and is not, saying why.
    """
    if isinstance(thresholds, Sampling) and thresholds.require_trainable:
        task = analyse(lake, pipeline, thresholds).task
        if not task.trainable:
            raise RequestError(
                f"require_trainable: {task.reason}. Nothing was measured: deliver or sample other clips, "
                "or set require_trainable to false"
            )
