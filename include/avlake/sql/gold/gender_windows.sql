-- One row per 3 s window of read speech: its voice features, the speaker's gender, the split.
-- key: file_id, window_index
-- group: subject_id
-- label: gender
-- rows: silver.voice_features
WITH windows AS (
    SELECT w.*, f.path, f.licence, f.source
    FROM silver.voice_features AS w
    JOIN current_files AS f USING (dataset, drop_date, file_id)
    WHERE dataset = 'voxforge'
),

facts AS (
    SELECT
        dataset,
        drop_date,
        file_id,
        any_value(subject_id) AS subject_id,
        any_value(value) FILTER (name = 'gender') AS gender,
        any_value(value) FILTER (name = 'age_range') AS age_range,
        any_value(value) FILTER (name = 'language') AS language,
        any_value(value) FILTER (name = 'dialect') AS dialect
    FROM silver.labels
    WHERE dataset = 'voxforge'
    GROUP BY ALL
),

judged AS (
    SELECT
        w.*,
        l.subject_id,
        l.gender,
        l.age_range,
        l.language,
        l.dialect,
        list_filter(
            [
                CASE WHEN l.gender IS NULL THEN 'unknown_gender' END,
                CASE WHEN q.clipping_ratio > threshold('max_clipping_ratio') THEN 'clipped' END,
                CASE WHEN q.snr_db < threshold('min_snr_db') THEN 'noisy' END
            ],
            lambda reason: reason IS NOT NULL
        ) AS reasons
    FROM windows AS w
    LEFT JOIN facts AS l USING (dataset, drop_date, file_id)
    LEFT JOIN silver.audio_quality AS q USING (dataset, drop_date, file_id)
)

SELECT
    file_id,
    dataset,
    drop_date,
    path,
    subject_id,
    window_index,
    window_start_s,
    window_end_s,
    gender,
    age_range,
    language,
    dialect,
    split_of(subject_id) AS split,
    len(reasons) = 0 AS kept,
    nullif(array_to_string(reasons, ','), '') AS reject_reason,
    licence,
    source,
    * EXCLUDE (
        file_id, dataset, drop_date, path, subject_id, window_index, window_start_s, window_end_s,
        gender, age_range, language, dialect, reasons, licence, source
    )
FROM judged
