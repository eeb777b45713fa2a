SELECT partition, kafka_offset, reason FROM dead_letters
WHERE product_id = $1 AND sale_id = $2 ORDER BY partition, kafka_offset LIMIT 20
