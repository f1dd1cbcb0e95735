-- One row per segment of an episode: what it sounds like, what is said of it, the split.
-- key: file_id, segment_index
-- group: path
SELECT
    s.*,
    f.path,
    split_of(f.path) AS split,
    true AS kept,
    NULL::VARCHAR AS reject_reason
FROM silver.segment_features AS s
JOIN current_files AS f USING (dataset, drop_date, file_id)
WHERE dataset = 'podcasts'
