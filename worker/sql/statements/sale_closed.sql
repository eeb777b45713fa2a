-- A close that a rebuild has overtaken says nothing any more.
UPDATE sales SET state = 'closed', withdrawn = $3, generation = greatest(generation, $4),
    rate = coalesce(rate, $5), burst = coalesce(burst, $6),
    closed_at = coalesce(closed_at, timestamptz 'epoch' + $7::bigint * interval '1 millisecond')
WHERE product_id = $1 AND sale_id = $2 AND generation <= $4
