-- A number is never used twice: above the ledger's and above Redis' ($3).
UPDATE sales SET generation = greatest(generation, $3::integer) + 1
WHERE product_id = $1 AND sale_id = $2
RETURNING generation
