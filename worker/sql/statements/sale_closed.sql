-- A sale that was closed stays closed, whatever generation that was of. What it withdrew is counted anew by a rebuild that
-- has overtaken the event, and believed of the generation in force.
UPDATE sales SET state = 'closed', withdrawn = CASE WHEN generation <= $4 THEN $3 ELSE withdrawn END,
    generation = greatest(generation, $4), rate = coalesce(rate, $5), burst = coalesce(burst, $6),
    closed_at = coalesce(closed_at, timestamptz 'epoch' + $7::bigint * interval '1 millisecond')
WHERE product_id = $1 AND sale_id = $2
