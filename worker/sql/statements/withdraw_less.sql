-- A sale that was over, of which orders have come that had units which were withdrawn as nobody's: what is left is withdrawn, and no
-- more. Its generation rises, so that nothing that was said of its end before is believed of them. Not of a product's latest sale, whose
-- units Redis speaks of: a rebuild draws up that account.
UPDATE sales SET withdrawn = greatest(total - sold - elsewhere.units, 0),
    generation = greatest(generation, raised) + 1, raised = greatest(generation, raised) + 1
FROM (SELECT (SELECT coalesce(sum(quantity), 0) FROM dead_letters WHERE product_id = $1 AND sale_id = $2)
    + (SELECT coalesce(sum(quantity), 0) FROM returns WHERE product_id = $1 AND sale_id = $2 AND state = 'withdrawn') AS units
) AS elsewhere
WHERE product_id = $1 AND sale_id = $2 AND withdrawn > 0 AND withdrawn > total - sold - elsewhere.units
    AND EXISTS (SELECT FROM sales later WHERE later.product_id = $1 AND later.sale_id > $2 AND later.rate IS NOT NULL)
