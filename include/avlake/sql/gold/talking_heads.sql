-- One row per sampled clip that opened, and per clip scored elsewhere: every measure, the decision, all its reasons.
-- A clip that is both, by its path, is kept as it was measured: its scored row is rejected as a `duplicate` of that.
-- key: file_id
-- group: split_group, cluster
-- with: clips, near_duplicates, split_groups
WITH measured AS (
    SELECT
        m.file_id,
        m.dataset,
        m.drop_date,
        f.path,
        c.subject_id,
        c.video_id,
        coalesce(g.split_group, c.subject_id || '/' || c.video_id) AS split_group,
        coalesce(n.cluster, m.file_id) AS cluster,
        m.video_codec IS NOT NULL AS has_video,
        m.codec IS NOT NULL AS has_audio,
        m.duration_s,
        m.width_px,
        m.height_px,
        m.frame_rate_hz,
        -- By way of text, a measured 0.9 equals a threshold of 0.9; as a wider number it would be 0.89999998.
        v.face_presence_ratio::VARCHAR::DOUBLE AS face_presence_ratio,
        v.avg_blur_score::VARCHAR::DOUBLE AS avg_blur_score,
        s.speech_ratio::VARCHAR::DOUBLE AS speech_ratio,
        v.min_blur_score,
        v.face_size_ratio,
        v.avg_faces,
        v.max_faces,
        v.face_confidence,
        v.brightness,
        v.contrast,
        v.face_stability,
        v.frozen_ratio,
        v.scene_cuts,
        v.frames_measured,
        s.speech_s,
        s.segments,
        q.peak,
        q.clipping_ratio,
        q.snr_db,
        q.loudness_lufs,
        q.silence_ratio,
        a.av_offset_s,
        a.av_sync_confidence,
        d.video AS standard_video,
        d.audio AS standard_audio,
        f.licence,
        f.source
    FROM silver.media AS m
    JOIN current_files AS f USING (dataset, drop_date, file_id)
    JOIN clips AS c ON c.file_id = m.file_id AND c.sampled
    LEFT JOIN silver.video_quality AS v USING (dataset, drop_date, file_id)
    LEFT JOIN silver.speech AS s USING (dataset, drop_date, file_id)
    LEFT JOIN silver.audio_quality AS q USING (dataset, drop_date, file_id)
    LEFT JOIN silver.av_sync AS a USING (dataset, drop_date, file_id)
    LEFT JOIN silver.standardised AS d USING (dataset, drop_date, file_id)
    LEFT JOIN near_duplicates AS n USING (file_id)
    LEFT JOIN split_groups AS g USING (subject_id, video_id)
),

placed AS (
    SELECT
        *,
        nullif(regexp_extract(path, '([^/\\]+)[/\\][^/\\]+$', 1), '') AS video_id  -- the folder that it lies in
    FROM silver.scores
),

scored AS (
    SELECT
        s.file_id,
        s.dataset,
        s.drop_date,
        path,
        s.subject_id,
        s.video_id,
        coalesce(m.split_group, g.split_group, concat_ws('/', s.subject_id, coalesce(s.video_id, path))) AS split_group,
        coalesce(m.cluster, s.file_id) AS cluster,
        true AS is_scored,
        true AS has_video,
        true AS has_audio,
        s.face_presence_ratio,
        s.avg_blur_score,
        s.speech_ratio,
        s.source
    FROM placed AS s
    LEFT JOIN measured AS m USING (path)
    LEFT JOIN split_groups AS g ON g.subject_id = s.subject_id AND g.video_id = s.video_id
),

looked_at AS (
    SELECT
        *,
        threshold('min_face_presence_ratio') > 0 AS wants_face,
        threshold('min_blur_score') > 0 AS wants_blur,
        threshold('min_speech_ratio') > 0 AS wants_speech,
        -- A detector sees a face or a voice now and then where there is none.
        face_presence_ratio < 0.05 AND (face_presence_ratio < threshold('min_face_presence_ratio')
            OR (wants_blur AND avg_blur_score IS NULL)) AS faceless,
        speech_ratio < least(0.05, threshold('min_speech_ratio')) AS speechless
    FROM (FROM measured UNION ALL BY NAME FROM scored)
),

judged AS (
    SELECT
        *,
        list_filter(
            [
                CASE WHEN NOT has_video AND (wants_face OR wants_blur) THEN 'no_video' END,
                CASE WHEN has_video AND wants_face AND face_presence_ratio IS NULL THEN 'face_not_measured' END,
                CASE WHEN faceless THEN 'no_face' END,
                CASE
                    WHEN face_presence_ratio < threshold('min_face_presence_ratio') AND NOT faceless
                        THEN 'low_face_presence'
                END,
                CASE WHEN avg_blur_score < threshold('min_blur_score') THEN 'blurry' END,
                CASE
                    WHEN has_video AND wants_blur AND avg_blur_score IS NULL AND coalesce(NOT faceless, true)
                        THEN 'blur_not_measured'
                END,
                CASE WHEN NOT has_audio AND wants_speech THEN 'no_audio' END,
                CASE WHEN has_audio AND wants_speech AND speech_ratio IS NULL THEN 'speech_not_measured' END,
                CASE WHEN speechless THEN 'no_speech' END,
                CASE
                    WHEN speech_ratio < threshold('min_speech_ratio') AND NOT speechless THEN 'low_speech'
                END
            ],
            lambda reason: reason IS NOT NULL
        ) AS faults
    FROM looked_at
),

ranked AS (
    SELECT
        *,
        first_value(file_id) OVER (
            PARTITION BY cluster
            ORDER BY
                is_scored NULLS FIRST, len(faults) = 0 DESC, width_px * height_px DESC NULLS LAST, avg_blur_score DESC NULLS LAST,
                drop_date, path, file_id
        ) AS best
    FROM judged
),

decided AS (
    SELECT
        *,
        nullif(best, file_id) AS duplicate_of,
        CASE WHEN best = file_id THEN faults ELSE list_append(faults, 'duplicate') END AS reasons
    FROM ranked
)

SELECT
    file_id,
    dataset,
    drop_date,
    path,
    subject_id,
    video_id,
    split_group,
    split_of(split_group) AS split,
    len(reasons) = 0 AS kept,
    nullif(array_to_string(reasons, ','), '') AS reject_reason,
    duplicate_of,
    cluster,
    duration_s,
    width_px,
    height_px,
    frame_rate_hz,
    face_presence_ratio,
    avg_blur_score,
    speech_ratio,
    * EXCLUDE (
        file_id, dataset, drop_date, path, subject_id, video_id, split_group, duplicate_of, cluster, duration_s, width_px,
        height_px, frame_rate_hz, face_presence_ratio, avg_blur_score, speech_ratio, is_scored, has_video, has_audio, wants_face,
        wants_blur, wants_speech, faceless, speechless, faults, best, reasons
    )
FROM decided
