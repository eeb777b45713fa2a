INSERT INTO dead_letters (topic, topic_id, partition, kafka_offset, key, value, reason, product_id, sale_id, quantity)
SELECT $1, $2, $3, kafka_offset, key, value, reason, nullif(product_id, ''), nullif(sale_id, -1), nullif(quantity, 0)
FROM unnest($4::bigint[], $5::bytea[], $6::bytea[], $7::text[], $8::text[], $9::bigint[], $10::integer[])
    AS noted (kafka_offset, key, value, reason, product_id, sale_id, quantity)
ON CONFLICT (topic_id, partition, kafka_offset) DO NOTHING
