-- A sale that has a rate was told of by an event, or by Redis to a rebuild; without, only orders have spoken of it. Last, where in
-- this partition ($3, $4) what older generations sold is too late; a partition that there was not then was empty.
SELECT product_id, sale_id, total, sold, withdrawn, rate IS NOT NULL, generation,
    CASE WHEN log_topic = $3 THEN coalesce(log_ends[$4::integer + 1], 0) END
FROM sales JOIN unnest($1::text[], $2::bigint[]) AS asked (product_id, sale_id) USING (product_id, sale_id)
ORDER BY product_id, sale_id
FOR UPDATE OF sales
