SELECT count(*) FROM dead_letters WHERE topic_id = $1 AND partition = $2 AND kafka_offset = ANY ($3)
