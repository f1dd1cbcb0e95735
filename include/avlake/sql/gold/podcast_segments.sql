-- One row per segment of an episode: what it sounds like, what is heard in it and who says so, the split.
-- key: file_id, segment_index
-- group: path
WITH segments AS (
    SELECT file_id, drop_date, segment_index, start_s, end_s, end_s - start_s AS length_s,
        least(0.5, length_s / 4) AS near_s,  -- people's times are not finer: less of something else is none of it
        concat_ws(
            ',',
            CASE WHEN is_short AND length_s < threshold('min_segment_s') THEN 'too_short' END,
            CASE WHEN silent_ratio > 0.9 THEN 'silent' END  -- frames at its ends hear what is beside it
        ) AS reasons
    FROM silver.segment_features
    SEMI JOIN current_files USING (dataset, drop_date, file_id)
    WHERE dataset = 'podcasts'
), tags AS (
    -- Like a frame, a window belongs to the segment in which its middle lies. The last one, padded, says nothing.
    SELECT s.file_id, s.segment_index,
        avg(t.speech)::FLOAT AS tag_speech_mean,
        avg(t.music)::FLOAT AS tag_music_mean,
        avg(t.speech_any)::FLOAT AS tag_speech_any_mean,
        avg(t.music_any)::FLOAT AS tag_music_any_mean,
        max(t.speech) AS tag_speech_max,
        max(t.music) AS tag_music_max,
        max(t.speech_any) AS tag_speech_any_max,
        max(t.music_any) AS tag_music_any_max
    FROM (SELECT *, start_s + 0.975 / 2 AS middle_s FROM silver.audio_tags WHERE dataset = 'podcasts' AND trusted) AS t
    ASOF JOIN segments AS s
        ON t.file_id = s.file_id AND t.drop_date = s.drop_date AND t.middle_s >= s.start_s
    GROUP BY ALL
), machine AS (
    -- Conservative: what is not clear has no label. In speech alone the tags hear next to no music, and in music alone
    -- next to no speech; where each is certain at some moment, both are there.
    SELECT *, CASE
        WHEN tag_speech_mean >= 0.5 AND tag_music_any_max < 0.1 THEN 'dialogue'
        WHEN tag_music_mean >= 0.5 AND tag_speech_max < 0.1 THEN 'music'
        WHEN tag_speech_max >= 0.8 AND tag_music_max >= 0.8 THEN 'both'
    END AS machine_label
    FROM tags
), parts AS (
    -- What people say of parts; parts that were labelled need not be cut as the segments are now.
    SELECT s.file_id, s.segment_index, s.length_s, s.near_s, p.value,
        sum(least(s.end_s, coalesce(p.end_s, s.end_s)) - greatest(s.start_s, p.start_s)) AS covered_s,
        max(p.source) AS source
    FROM segments AS s
    JOIN human_labels AS p
        ON p.file_id = s.file_id AND p.start_s < s.end_s AND coalesce(p.end_s, s.end_s) > s.start_s
    WHERE p.name = 'content' AND p.value IN ('music', 'dialogue', 'both')
    GROUP BY ALL
), content AS (
    SELECT file_id, segment_index,
        CASE
            WHEN count(*) FILTER (covered_s > near_s) > 1 THEN 'both'
            ELSE max_by(value, (covered_s, value))
        END AS value,
        max_by(source, (covered_s, value)) AS source
    FROM parts GROUP BY file_id, segment_index, length_s HAVING sum(covered_s) >= length_s / 2
), episodes AS (
    SELECT file_id,
        max(CASE WHEN value = 'none' THEN 'infinity' ELSE at_s END) FILTER (name = 'outro_start_s') AS outro_start_s,
        max(CASE WHEN value = 'none' THEN 0 ELSE at_s END) FILTER (name = 'intro_end_s') AS intro_end_s
    FROM (SELECT *, TRY_CAST(value AS DOUBLE) AS at_s FROM human_labels WHERE start_s IS NULL AND end_s IS NULL)
    WHERE value = 'none' OR isfinite(at_s)
    GROUP BY file_id
), music AS (
    SELECT s.*, e.outro_start_s IS NOT NULL AS outro_is_known, least(
        length_s,
        greatest(0, s.end_s - greatest(s.start_s, coalesce(e.outro_start_s, 'infinity')))
        + greatest(0, least(s.end_s, coalesce(e.intro_end_s, 0)) - s.start_s)
    ) AS music_s
    FROM segments AS s JOIN episodes AS e USING (file_id)
), from_outro AS (
    -- A person says where music is, unbroken; the tags say who speaks over it, and where else there is some.
    SELECT file_id, segment_index, CASE
        WHEN music_s >= length_s - near_s AND coalesce(tag_speech_max, 0) < 0.8 THEN 'music'
        WHEN music_s > near_s THEN 'both'
        WHEN outro_is_known AND tag_music_any_max < 0.1 THEN 'dialogue'
    END AS value
    FROM music LEFT JOIN machine USING (file_id, segment_index)
)
SELECT
    s.file_id,
    s.dataset,
    s.drop_date,
    f.path,
    s.segment_index,
    s.start_s,
    s.end_s,
    s.is_short,
    coalesce(c.value, o.value, m.machine_label) AS label,
    CASE
        WHEN c.value IS NOT NULL THEN 'human'
        WHEN o.value IS NOT NULL THEN 'human_outro'
        WHEN m.machine_label IS NOT NULL THEN 'machine'
    END AS label_source,
    m.machine_label,
    c.source AS label_batch,
    isfinite(e.outro_start_s) AS label_has_outro,
    CASE WHEN isfinite(e.outro_start_s) THEN e.outro_start_s END AS label_outro_start_s,
    nullif(e.intro_end_s, 0) AS label_intro_end_s,
    split_of(f.path) AS split,
    r.reasons = '' AS kept,
    nullif(r.reasons, '') AS reject_reason,
    f.licence,
    f.source,
    s.* EXCLUDE (file_id, dataset, drop_date, segment_index, start_s, end_s, is_short),
    m.* EXCLUDE (file_id, segment_index, machine_label)
FROM silver.segment_features AS s
JOIN current_files AS f USING (dataset, drop_date, file_id)
JOIN segments AS r USING (file_id, segment_index)
LEFT JOIN machine AS m USING (file_id, segment_index)
LEFT JOIN content AS c USING (file_id, segment_index)
LEFT JOIN from_outro AS o USING (file_id, segment_index)
LEFT JOIN episodes AS e USING (file_id)
WHERE s.dataset = 'podcasts'
