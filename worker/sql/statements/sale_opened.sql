-- The row is there: it was opened and locked in this transaction. A repeat finds what it brings already.
UPDATE sales SET rate = $3, burst = $4, seed = $5, generation = greatest(generation, $6),
    opened_at = timestamptz 'epoch' + $7::bigint * interval '1 millisecond', per_user = $8,
    opens_at = timestamptz 'epoch' + nullif($9::bigint, 0) * interval '1 millisecond',
    queue = nullif($10::text, '')
WHERE product_id = $1 AND sale_id = $2 AND opened_at IS NULL
