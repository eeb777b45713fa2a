-- What `/init` may ask for beyond units and rate. `per_user` is NULL until the sale's event has come, 0 where there is no
-- limit; `opens_at` is NULL where the sale was open from the start.
ALTER TABLE sales
    ADD COLUMN per_user integer,
    ADD COLUMN opens_at timestamptz;
