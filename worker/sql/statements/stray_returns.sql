-- Which of these returns, of a sale or generation that Redis has not heard of, nobody can ever take: their generation is above any
-- that a rebuild took or an event told of, or only orders tell of their sale, and Redis holds one that was announced ($2).
SELECT r.reservation_id, CASE WHEN r.generation > greatest(s.generation, s.raised) THEN 'generation' ELSE 'sale' END
FROM returns r JOIN sales s USING (product_id, sale_id)
WHERE r.reservation_id = ANY ($1) AND r.state = 'pending' AND (r.generation > greatest(s.generation, s.raised)
    OR s.rate IS NULL AND EXISTS (SELECT FROM sales held
        WHERE held.product_id = r.product_id AND held.sale_id = $2 AND held.rate IS NOT NULL))
