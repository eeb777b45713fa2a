-- Redis sells nothing under an older generation any more. What the sale was opened with is kept where its event has not come:
-- only Redis knew it, or the operator. Up to $11 the log of topic $10 has been counted;
-- zeros and nothing: it is not known.
UPDATE sales SET generation = greatest(generation, $3::integer), rate = coalesce(rate, $4), burst = coalesce(burst, $5),
    seed = coalesce(seed, $6), per_user = coalesce(per_user, $7),
    opens_at = coalesce(opens_at, timestamptz 'epoch' + nullif($8::bigint, 0) * interval '1 millisecond'),
    queue = coalesce(queue, nullif($9::text, '')),
    log_topic = CASE WHEN generation > $3 THEN log_topic ELSE nullif($10, uuid '00000000-0000-0000-0000-000000000000') END,
    log_ends = CASE WHEN generation > $3 THEN log_ends ELSE nullif($11::bigint[], '{}') END
WHERE product_id = $1 AND sale_id = $2
