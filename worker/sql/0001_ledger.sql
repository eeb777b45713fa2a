-- The ledger: what was sold, exactly once. Every row of an order is written by the worker, in the transaction that
-- advances its partition's offset.

-- What a reader of the data joins first. `stock` is total - sold of the latest sale, the one in `sale_id`.
-- Half-empty pages keep the one hot row's updates on its page (HOT), so that its index never grows.
CREATE TABLE products (
    id      text   PRIMARY KEY,
    stock   bigint NOT NULL,
    sale_id bigint NOT NULL
) WITH (fillfactor = 50);

-- A sale is opened by its event or by its first order, whichever comes first: what only the event knows is NULL until
-- then. `generation` is one more than the number of rebuilds.
CREATE TABLE sales (
    product_id text        NOT NULL,
    sale_id    bigint      NOT NULL,
    generation integer     NOT NULL DEFAULT 1,
    total      bigint      NOT NULL,
    sold       bigint      NOT NULL DEFAULT 0,
    withdrawn  bigint      NOT NULL DEFAULT 0,
    state      text        NOT NULL DEFAULT 'open',
    rate       bigint,
    burst      bigint,
    seed       text,
    opened_at  timestamptz,
    closed_at  timestamptz,
    PRIMARY KEY (product_id, sale_id),
    -- The second gate: whatever went wrong before, unit total + 1 is not stored.
    CONSTRAINT sales_room CHECK (sold <= total),
    CONSTRAINT sales_numbers CHECK (total > 0 AND sold >= 0 AND withdrawn BETWEEN 0 AND total),
    CONSTRAINT sales_state CHECK (state IN ('open', 'closed'))
) WITH (fillfactor = 50);

-- No foreign keys: each would cost a lookup an order, and the sale's row is written in the same transaction anyway.
CREATE TABLE orders (
    id             uuid        PRIMARY KEY,
    product_id     text        NOT NULL,
    user_id        text        NOT NULL,
    quantity       integer     NOT NULL CHECK (quantity > 0),
    sale_id        bigint      NOT NULL,
    generation     integer     NOT NULL,
    reservation_id uuid        NOT NULL,
    partition      integer     NOT NULL,
    kafka_offset   bigint      NOT NULL,
    created_at     timestamptz NOT NULL,
    stored_at      timestamptz NOT NULL DEFAULT now()
);

-- Where each partition goes on. By the topic's id: a topic deleted and made anew under its name is another topic.
CREATE TABLE offsets (
    topic_id    uuid        NOT NULL,
    partition   integer     NOT NULL,
    next_offset bigint      NOT NULL CHECK (next_offset >= 0),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic_id, partition)
) WITH (fillfactor = 50);

-- A second reservation of an order that is stored: its units go back to the stock, once.
--   pending    nobody has given them back yet
--   returned   given back to the sale they were taken from
--   absorbed   a rebuild has counted them in
--   withdrawn  the sale they were taken from is over
CREATE TABLE returns (
    reservation_id uuid        PRIMARY KEY,
    order_id       uuid        NOT NULL,
    product_id     text        NOT NULL,
    sale_id        bigint      NOT NULL,
    generation     integer     NOT NULL,
    quantity       integer     NOT NULL CHECK (quantity > 0),
    user_id        text        NOT NULL,
    state          text        NOT NULL DEFAULT 'pending',
    noted_at       timestamptz NOT NULL DEFAULT now(),
    settled_at     timestamptz,
    CONSTRAINT returns_state CHECK (state IN ('pending', 'returned', 'absorbed', 'withdrawn'))
);
CREATE INDEX returns_pending ON returns (noted_at) WHERE state = 'pending';
CREATE INDEX returns_by_sale ON returns (product_id, sale_id);

-- Orders that the ledger refused, and why: `no_room` (the sale's total is stored already), `key_reused` (the order is
-- stored with another quantity).
CREATE TABLE rejected (
    order_id       uuid        NOT NULL,
    reservation_id uuid        NOT NULL,
    reason         text        NOT NULL,
    product_id     text        NOT NULL,
    user_id        text        NOT NULL,
    quantity       integer     NOT NULL,
    sale_id        bigint      NOT NULL,
    generation     integer     NOT NULL,
    partition      integer     NOT NULL,
    kafka_offset   bigint      NOT NULL,
    created_at     timestamptz NOT NULL,
    rejected_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (order_id, reservation_id)
);
CREATE INDEX rejected_by_sale ON rejected (product_id, sale_id);

-- Records that are no order or could not be stored, with their bytes. Product, sale and quantity where they are known.
CREATE TABLE dead_letters (
    topic        text        NOT NULL,
    topic_id     uuid        NOT NULL,
    partition    integer     NOT NULL,
    kafka_offset bigint      NOT NULL,
    key          bytea,
    value        bytea,
    reason       text        NOT NULL,
    product_id   text,
    sale_id      bigint,
    quantity     integer,
    at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic_id, partition, kafka_offset)
);
CREATE INDEX dead_letters_by_sale ON dead_letters (product_id, sale_id) WHERE product_id IS NOT NULL;
