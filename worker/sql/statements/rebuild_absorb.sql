-- Units of earlier generations that wait to be given back, or came when their sale was closed: the stock that is set next,
-- or what is withdrawn of it, counts them in.
UPDATE returns SET state = 'absorbed', settled_at = now()
WHERE product_id = $1 AND sale_id = $2 AND generation < $3 AND state IN ('pending', 'withdrawn')
