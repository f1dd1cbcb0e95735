-- One row per clip: is it nothing but sound effects?
-- key: file_id
-- group: youtube_id
SELECT
    f.file_id,
    f.dataset,
    f.drop_date,
    f.path,
    f.file_id AS youtube_id,
    split_of(f.file_id) AS split,
    false AS kept,
    'undecided' AS reject_reason
FROM current_files AS f
SEMI JOIN silver.media USING (dataset, drop_date, file_id)
WHERE dataset = 'vggsound'
