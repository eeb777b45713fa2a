-- A sale that was over: what nobody has is withdrawn. Its generation rises, so that an event of it that comes late is not believed
-- of what was withdrawn, nor an order that is not in the log of topic $4 up to $5 (zeros and nothing: not known).
UPDATE sales SET state = 'closed', closed_at = coalesce(closed_at, now()), withdrawn = $3,
    generation = greatest(generation, raised) + 1, raised = greatest(generation, raised) + 1,
    log_topic = nullif($4, uuid '00000000-0000-0000-0000-000000000000'), log_ends = nullif($5::bigint[], '{}')
WHERE product_id = $1 AND sale_id = $2
