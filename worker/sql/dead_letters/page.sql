-- A page of them, in the order of the log. A key or value that is too long for a record of ours is left where it is.
SELECT topic, topic_id, partition, kafka_offset, reason, coalesce(product_id, ''), at::text,
    CASE WHEN octet_length(key) <= 65536 THEN encode(key, 'hex') END,
    CASE WHEN octet_length(value) <= 65536 THEN encode(value, 'hex') END
FROM dead_letters
WHERE (topic_id, partition, kafka_offset) > ($1, $2, $3)
ORDER BY topic_id, partition, kafka_offset LIMIT 500
