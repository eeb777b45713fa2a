-- Only the worker that read the offset that still stands may go on: 0 rows means that another worker has gone on
-- already.
UPDATE offsets SET next_offset = $4, leader_epoch = nullif($5::integer, -1), epoch_offset = $4, updated_at = now()
WHERE topic_id = $1 AND partition = $2 AND next_offset = $3
