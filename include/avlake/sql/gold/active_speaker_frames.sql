-- One row per face at a time, a box: what it is labelled, who it shows, whether and why not it is learned from, the split.
-- key: file_id, track_id, frame_timestamp
-- group: video_id
-- label: label
WITH videos AS (
    SELECT *, regexp_replace(regexp_extract(path, '[^/\\]+$'), '(.)\.[^.]*$', '\1') AS video_id
    FROM current_files
    WHERE dataset = 'ava'
),

parts AS (
    SELECT
        t.* EXCLUDE (dataset, drop_date, crops, crop_bytes, log_mel, mfcc),
        -- Only faces that are to be seen make a track long: a time past the video's end would join all its scenes.
        list_filter(t.frame_timestamp, lambda s, i: t.problem[i] IS NULL) AS seen_s
    FROM silver.face_tracks AS t
    SEMI JOIN videos USING (dataset, drop_date, file_id)
),

spans AS (
    SELECT
        file_id,
        track_id,
        coalesce(min(list_min(seen_s)), min(start_s)) AS first_s,
        coalesce(max(list_max(seen_s)), min(start_s)) AS last_s,
        max(list_max(seen_s)) - min(list_min(seen_s)) AS length_s
    FROM parts
    GROUP BY ALL
),

-- Who is on screen together, directly or through others: a scene ends where no track is alive.
begun AS (
    SELECT *, coalesce(first_s > max(last_s) OVER before, false) AS begins
    FROM spans
    WINDOW before AS (
        PARTITION BY file_id ORDER BY first_s, track_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),

tracks AS (
    SELECT
        b.file_id,
        b.track_id,
        round(length_s, 6) AS track_s,
        (sum(begins::INTEGER) OVER (
            PARTITION BY b.file_id ORDER BY first_s, b.track_id ROWS UNBOUNDED PRECEDING
        ))::INTEGER AS scene,
        split_of(v.video_id) AS split,
        l.value AS subject_id
    FROM begun AS b
    JOIN videos AS v USING (file_id)
    LEFT JOIN human_labels AS l ON l.file_id = b.file_id AND l.name = 'talker:' || b.track_id
),

boxes AS (
    SELECT
        * EXCLUDE (frame_timestamp, x1, y1, x2, y2, label, problem, seen_s, start_s, end_s, faces),
        unnest(range(len(frame_timestamp)))::INTEGER AS face_index,
        unnest(frame_timestamp) AS frame_timestamp,
        unnest(x1) AS x1,
        unnest(y1) AS y1,
        unnest(x2) AS x2,
        unnest(y2) AS y2,
        unnest(label) AS label,
        unnest(problem) AS problem
    FROM parts
),

-- A number may be too large for 32 bits; a width is rounded, so that 0.1 of 160 px is not less than 16 px.
faces AS (
    SELECT
        * REPLACE (
            CASE WHEN isfinite(x1) THEN x1 END AS x1,
            CASE WHEN isfinite(y1) THEN y1 END AS y1,
            CASE WHEN isfinite(x2) THEN x2 END AS x2,
            CASE WHEN isfinite(y2) THEN y2 END AS y2
        ),
        CASE WHEN isfinite(x1) AND isfinite(x2) THEN round((x2::DOUBLE - x1) * width_px, 3) END AS face_px
    FROM boxes
),

judged AS (
    SELECT
        *,
        concat_ws(
            ',',
            problem,
            CASE WHEN label IS NULL THEN if(source = 'annotation', 'unknown_label', 'unlabelled') END,
            CASE WHEN problem IS DISTINCT FROM 'bad_box' AND face_px < threshold('min_face_px') THEN 'small_face' END,
            CASE WHEN track_s < threshold('min_track_s') THEN 'short_track' END
        ) AS reasons,
        (count(*) FILTER (problem IS NULL) OVER (PARTITION BY file_id, frame_timestamp))::INTEGER AS faces_on_screen
    FROM faces
    JOIN tracks USING (file_id, track_id)
),

-- Whole tracks without a voice are left out of training, those with the highest hashes, until what is left is balanced.
voices AS (
    SELECT
        split,
        file_id,
        track_id,
        count(*) FILTER (label = 'SPEAKING_AUDIBLE') AS audible,
        count(*) FILTER (label != 'SPEAKING_AUDIBLE') AS others
    FROM judged
    WHERE reasons = ''
    GROUP BY ALL
),

silent AS (
    SELECT file_id, track_id, sum(others) OVER (
        PARTITION BY split ORDER BY sha256(file_id || '/' || track_id) ROWS UNBOUNDED PRECEDING
    ) > threshold('max_negatives') * heard - beside AS is_left_out
    FROM voices
    JOIN (
        SELECT split, sum(audible) AS heard, coalesce(sum(others) FILTER (audible > 0), 0) AS beside
        FROM voices
        GROUP BY ALL
    ) USING (split)
    WHERE audible = 0
)

SELECT
    file_id,
    v.dataset,
    v.drop_date,
    v.path,
    v.video_id,
    track_id,
    part,
    face_index,
    frame_timestamp,
    x1,
    y1,
    x2,
    y2,
    label,
    CASE WHEN label IS NOT NULL THEN 'annotation' END AS label_source,
    label = 'SPEAKING_AUDIBLE' AS audible,
    subject_id,
    scene,
    faces_on_screen,
    face_px,
    track_s,
    split,
    reasons = '' AS kept,
    nullif(reasons, '') AS reject_reason,
    reasons = '' AND NOT coalesce(is_left_out, false) AS trains,
    CASE WHEN reasons = '' AND is_left_out THEN 'class_balance' END AS left_out_reason,
    v.licence,
    v.source
FROM judged
JOIN videos AS v USING (file_id)
LEFT JOIN silent USING (file_id, track_id)
