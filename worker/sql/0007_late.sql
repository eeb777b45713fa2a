-- Where the log ended when a rebuild put `generation` in force: of each partition of the topic `log_topic`, in their order. Orders of older
-- generations that stand at or behind it came too late to be counted: their units were given to others. NULL: no rebuild has said.
ALTER TABLE sales
    ADD COLUMN log_topic uuid,
    ADD COLUMN log_ends  bigint[];
