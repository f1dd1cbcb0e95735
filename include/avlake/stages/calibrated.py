"""What is heard in each clip of `sound_effects`, as relations for its gold SQL: scores, words, and a probability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from duckdb.func import PythonUDFType

from avlake.errors import RequestError
from avlake.learn.calibration import NEVER, Clips, calibrate, lacking
from avlake.learn.description import describe
from avlake.stages import bounded
from avlake.thresholds import SoundEffectsThresholds, Thresholds

if TYPE_CHECKING:
    import duckdb

AT_ONCE = 100_000  # clips; and step after step, with ranks and not lists of all tags: so memory suffices for any number

# A score is the mean of the three highest windows that are trusted, as far as there are so many; of a clip that is
# shorter than a window, of that one. The voice detector is asked too: a tagger hears animals where people speak.
CLIP_SOUNDS = """
CREATE OR REPLACE TABLE clip_files AS
SELECT *, regexp_extract(path, '([^/]+?)(\\.[^./]*)?$', 1) AS stem
FROM current_files WHERE dataset = '{dataset}' AND hash(file_id) % {parts} = {part};
CREATE OR REPLACE VIEW clip_windows AS
FROM silver.audio_tags SEMI JOIN clip_files USING (dataset, drop_date, file_id);
CREATE OR REPLACE TABLE clip_scores AS
SELECT
    file_id,
    count(*) AS windows,
    list_avg(coalesce(max(speech::DOUBLE, 3) FILTER (trusted), max(speech::DOUBLE, 3))) AS speech_score,
    list_avg(coalesce(max(music::DOUBLE, 3) FILTER (trusted), max(music::DOUBLE, 3))) AS music_score
FROM clip_windows GROUP BY file_id;
CREATE OR REPLACE TABLE clip_tags AS
SELECT file_id, tag, coalesce(sum(score) FILTER (trusted), sum(score)) AS s
FROM (
    SELECT *, row_number() OVER (PARTITION BY file_id, tag, trusted ORDER BY score DESC) AS nth FROM (
        SELECT file_id, trusted, unnest(top_tags) AS tag, unnest(top_scores)::DOUBLE AS score FROM clip_windows
    )
) WHERE nth <= 3 GROUP BY file_id, tag;
CREATE OR REPLACE TABLE clip_top_tags AS
SELECT file_id, list(tag ORDER BY nth) AS top_tags, list(score ORDER BY nth) AS top_scores
FROM (
    SELECT
        file_id,
        tag,
        least(1, s / least(3, greatest(1, windows - 1))) AS score,
        row_number() OVER (PARTITION BY file_id ORDER BY s DESC, tag) AS nth
    FROM clip_tags JOIN clip_scores USING (file_id)
) WHERE nth <= 5 GROUP BY file_id;
{make}
WITH said AS (
    SELECT
        file_id,
        max(subject_id) AS subject_id,
        max(value) FILTER (name = 'sound') AS sound,
        max(value) FILTER (name = 'clip') AS clip
    FROM silver.labels SEMI JOIN clip_files USING (dataset, drop_date, file_id)
    WHERE name IN ('sound', 'clip') GROUP BY file_id
)
SELECT
    f.file_id,
    coalesce(l.clip, f.stem) AS video_id,
    coalesce(nullif(l.subject_id, ''), nullif(regexp_extract(f.stem, '^(.+)_\\d{{6}}$', 1), ''), f.stem) AS youtube_id,
    try_cast(nullif(regexp_extract(video_id, '_(\\d{{6}})$', 1), '') AS INTEGER) AS start_s,
    l.sound,
    h.value AS human_sound,
    coalesce(s.windows, 0) AS windows,
    s.speech_score,
    s.music_score,
    v.speech_s,
    v.speech_ratio::VARCHAR::DOUBLE AS speech_ratio,
    v.speech_ratio::VARCHAR::DOUBLE >= threshold('max_speech_ratio')
        OR v.speech_s >= threshold('max_speech_s') AS speaks,
    coalesce(n.top_tags, []) AS top_tags,
    description_of(l.sound, coalesce(n.top_tags, []), coalesce(n.top_scores, [])) AS audio_text_description
FROM clip_files AS f
LEFT JOIN clip_scores AS s USING (file_id)
LEFT JOIN clip_top_tags AS n USING (file_id)
LEFT JOIN said AS l USING (file_id)
LEFT JOIN silver.speech AS v ON v.file_id = f.file_id AND v.dataset = f.dataset AND v.drop_date = f.drop_date
LEFT JOIN human_labels AS h ON h.file_id = f.file_id AND h.name = 'sound' AND h.start_s IS NULL AND h.end_s IS NULL
"""
CALIBRATED = pa.schema({"file_id": pa.string(), "p_sfx": pa.float64(), "threshold": pa.float64()})
MEASURED = "FROM clip_sounds WHERE speech_score IS NOT NULL AND speech_ratio IS NOT NULL"


def clip_sounds(con: duckdb.DuckDBPyConnection, dataset: str) -> None:
    """Create the relation `clip_sounds`: a row for each current file of the dataset.

    Columns: file_id, video_id (the file's stem, or what an index says that it would be), youtube_id, start_s,
    sound (the dataset's label), human_sound (people's), windows, speech_score and music_score in [0, 1], speech_s,
    speech_ratio, speaks (is that too much?), top_tags (at most five), audio_text_description. What was not measured,
    or nobody has said, is NULL.
    """

    def each(labels: pa.ChunkedArray, tags: pa.ChunkedArray, scores: pa.ChunkedArray) -> pa.Array:
        columns = (labels.to_pylist(), tags.to_pylist(), scores.to_pylist())
        return pa.array([describe(*row) for row in zip(*columns, strict=True)], pa.string())

    takes: Any = ["VARCHAR", "VARCHAR[]", "DOUBLE[]"]
    how: Any = {"type": PythonUDFType.ARROW, "null_handling": "special"}  # of a clip without a label, too
    con.create_function("description_of", each, takes, "VARCHAR", **how)
    parts = 1 + bounded.value(con, f"SELECT count(*) FROM current_files WHERE dataset = '{dataset}'") // AT_ONCE
    for part in range(parts):
        make = "INSERT INTO clip_sounds" if part else "CREATE TABLE clip_sounds AS"
        con.execute(CLIP_SOUNDS.format(dataset=dataset, parts=parts, part=part, make=make))


def calibrated(con: duckdb.DuckDBPyConnection, dataset: str, *, thresholds: Thresholds) -> None:
    """Create the relation `calibrated` (file_id, p_sfx, threshold), of `clip_sounds`; see `avlake.learn.calibration`.

    A row for each clip that was measured; none where there are too few of people's labels.

    Raises:
        RequestError: where the calibrated decision is to decide, and they are too few for it, or for the precision that
            is stated; with the next step.
    """
    assert isinstance(thresholds, SoundEffectsThresholds)
    labelled = con.execute(f"SELECT * {MEASURED} AND human_sound IS NOT NULL ORDER BY file_id").to_arrow_table()
    human, known = labelled["human_sound"].to_pylist(), _clips(labelled)
    if too_few := lacking(human, known.youtube_id):
        if thresholds.decision == "calibrated":
            raise RequestError(
                f"decision=calibrated: {too_few}. Label more with `avlake labels import FILE --by NAME`, or set "
                "decision=plain"
            )
        con.register("nothing", CALIBRATED.empty_table())
        con.execute("CREATE TABLE calibrated AS FROM nothing")
        con.unregister("nothing")
        return
    found = calibrate(known, human, min_precision=thresholds.min_precision)
    if found.others_threshold == NEVER and thresholds.decision == "calibrated":
        raise RequestError(
            f"decision=calibrated: no threshold reaches min_precision {thresholds.min_precision} on {len(human)} "
            "labelled clips. Label more with `avlake labels import FILE --by NAME`, lower min_precision, or set "
            "decision=plain"
        )
    con.register("known", _rows(labelled, found.p, found.threshold))
    con.execute("CREATE TABLE calibrated AS FROM known")
    con.unregister("known")
    others = con.cursor()  # reads while the table grows
    for some in bounded.batches(others, f"SELECT * {MEASURED} AND human_sound IS NULL"):
        p = found.probability(_clips(some))
        con.register("known", _rows(some, p, np.full(len(p), found.others_threshold)))
        con.execute("INSERT INTO calibrated FROM known")
        con.unregister("known")


def _clips(rows: pa.Table) -> Clips:
    return Clips(
        rows["speech_score"].to_numpy(),
        rows["music_score"].to_numpy(),
        rows["speech_ratio"].to_numpy(),
        np.array(rows["speaks"].to_pylist(), bool),
        np.array(rows["sound"].to_pylist(), object),
        np.array(rows["youtube_id"].to_pylist(), str),
    )


def _rows(clips: pa.Table, p: Any, threshold: Any) -> pa.Table:
    return pa.table([clips["file_id"].cast(pa.string()), p, threshold], schema=CALIBRATED)
