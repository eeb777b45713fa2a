-- A number is never used twice: above all that were taken, the one in force, and Redis' ($3; 0 where it holds none). It is
-- in force only when Redis has been told (rebuild_in_force.sql).
UPDATE sales SET raised = greatest(raised, generation, $3::integer) + 1
WHERE product_id = $1 AND sale_id = $2
RETURNING raised
