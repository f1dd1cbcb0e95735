-- One row per clip delivered: who speaks in it, its source video, and whether it is in the sample (`kept`).
-- It is made from paths, so it can be built before anything is measured: a run that `require_trainable` stops has it.
-- key: file_id
-- group: split_group
-- with: clips, near_duplicates, split_groups
SELECT
    file_id,
    dataset,
    drop_date,
    path,
    subject_id,
    video_id,
    coalesce(split_group, subject_id || '/' || video_id) AS split_group,
    split_of(coalesce(split_group, subject_id || '/' || video_id)) AS split,
    sampled AS kept,
    CASE WHEN NOT sampled THEN 'not_sampled' END AS reject_reason,
    size_bytes,
    sha256,
    speaker_clips,
    licence,
    source
FROM clips
LEFT JOIN split_groups USING (subject_id, video_id)
