UPDATE sales SET state = 'closed', withdrawn = $3, closed_at = coalesce(closed_at, now())
WHERE product_id = $1 AND sale_id = $2
