-- Waits for a transaction that is just advancing the offset, and so reads what it leaves behind.
INSERT INTO offsets AS held (topic_id, partition, next_offset) VALUES ($1, $2, 0)
ON CONFLICT (topic_id, partition) DO UPDATE SET next_offset = held.next_offset
RETURNING next_offset, CASE WHEN epoch_offset = next_offset THEN leader_epoch END
