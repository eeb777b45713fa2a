-- Takes out those that are replayed, in the transaction that stores them. A row fewer than asked for: somebody else has
-- been here.
DELETE FROM dead_letters WHERE topic_id = $1 AND partition = $2 AND kafka_offset = ANY ($3)
