-- One row per clip that opened, and per clip without sound: what is heard, in figures and in words, the decision, why.
-- key: file_id
-- group: youtube_id
-- with: clip_sounds, calibrated
WITH opened AS (
    SELECT file_id, dataset, drop_date, codec IS NOT NULL AS has_audio, duration_s FROM silver.media
    UNION ALL
    SELECT file_id, dataset, drop_date, false AS has_audio, NULL AS duration_s FROM ops.extractions
    WHERE extractor = 'open' AND error_class = 'no_audio'
),

judged AS (
    SELECT
        f.file_id,
        f.dataset,
        f.drop_date,
        f.path,
        c.* EXCLUDE (file_id, windows, speaks),
        o.duration_s,
        k.p_sfx,
        k.threshold AS calibrated_threshold,
        f.licence,
        f.source,
        list_filter(
            CASE
                WHEN NOT o.has_audio THEN ['no_audio']
                WHEN c.windows = 0 THEN ['too_short']
                WHEN c.speech_ratio IS NULL THEN ['speech_not_measured']
                WHEN setting('decision') = 'calibrated' THEN [
                    CASE WHEN k.p_sfx = 0 OR c.speaks THEN 'speech' END,
                    CASE WHEN coalesce(k.p_sfx != 0 AND NOT k.p_sfx >= k.threshold, true) THEN 'not_convincing' END
                ]
                ELSE [
                    CASE WHEN c.speech_score >= threshold('max_speech_score') OR c.speaks THEN 'speech' END,
                    CASE WHEN c.music_score >= threshold('max_music_score') THEN 'music' END
                ]
            END,
            lambda reason: reason IS NOT NULL
        ) AS reasons
    FROM opened AS o
    JOIN current_files AS f USING (dataset, drop_date, file_id)
    JOIN clip_sounds AS c USING (file_id)
    LEFT JOIN calibrated AS k USING (file_id)
    WHERE f.dataset = 'vggsound'
)

SELECT
    file_id,
    dataset,
    drop_date,
    path,
    video_id,
    youtube_id,
    start_s,
    audio_text_description,
    split_of(youtube_id) AS split,
    len(reasons) = 0 AS kept,
    nullif(array_to_string(reasons, ','), '') AS reject_reason,
    sound,
    human_sound,
    speech_score,
    music_score,
    speech_s,
    speech_ratio,
    p_sfx,
    calibrated_threshold,
    duration_s,
    top_tags,
    licence,
    source
FROM judged
