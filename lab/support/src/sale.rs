//! A sale of one product, as the tests see it: its keys, and the calls the edge would make.

use flux_protocol::resp::OwnedFrame;

use crate::redis::{Client, strings, text};

/// The product's keys in the order that `init`, `close` and `look` take them.
pub const KEYS: [&str; 9] = ["stock", "sale", "outbox", "claims", "users", "returned", "rate", "sales", "queue"];

pub fn key(product: &str, name: &str) -> String {
    format!("product:{{{product}}}:{name}")
}

pub fn keys(product: &str) -> Vec<String> {
    KEYS.iter().map(|name| key(product, name)).collect()
}

/// One order of a reserve call.
#[derive(Clone, Debug)]
pub struct Order {
    pub reservation: String,
    pub quantity: u64,
    pub id: String,
    pub user: String,
    /// The slot of the place by which it was called.
    pub slot: Option<u32>,
}

pub fn order(reservation: &str, quantity: u64, id: &str, user: &str) -> Order {
    Order { reservation: reservation.into(), quantity, id: id.into(), user: user.into(), slot: None }
}

/// Options of a sale; the default is what most tests want.
pub struct Options {
    pub total: u64,
    pub rate: u64,
    pub burst: u64,
    pub force: bool,
    pub per_user: u64,
    pub opens_at: u64,
    /// With a fair queue.
    pub fair: bool,
    /// Of its orders; empty: as sales were opened before they noted it.
    pub topic: &'static str,
}

pub const PLAIN: Options =
    Options { total: 10, rate: 0, burst: 100, force: false, per_user: 0, opens_at: 0, fair: false, topic: "" };

/// Id, head and lines of an outbox entry.
pub type Entry = (String, String, String);

/// A sale as an edge knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    pub product: String,
    pub id: String,
    pub generation: u32,
    /// The master_replid that the fence names which the caller obeys, where it obeys one.
    pub fence: Option<String>,
    pub orders_max: u64,
}

pub fn init_reply(client: &mut Client, product: &str, options: &Options) -> OwnedFrame {
    let run_id = client.info("server", "run_id");
    let arguments = [
        options.total.to_string(),
        options.rate.to_string(),
        options.burst.to_string(),
        u8::from(options.force).to_string(),
        run_id,
        "5e".repeat(32),
        options.per_user.to_string(),
        options.opens_at.to_string(),
        if options.fair { "fair" } else { "retry" }.to_owned(),
        options.topic.to_owned(),
    ];
    client.call(|scripts| &scripts.init, &keys(product), &arguments)
}

impl Sale {
    /// Opens one and fails the test where that is refused.
    pub fn open(client: &mut Client, product: &str, options: &Options) -> Sale {
        let reply = strings(init_reply(client, product, options));
        assert_eq!(reply[0], "OK", "{reply:?}");
        Sale { product: product.into(), id: reply[1].clone(), generation: 1, fence: None, orders_max: 100_000 }
    }

    pub fn key(&self, name: &str) -> String {
        key(&self.product, name)
    }

    /// The key of its records: the one whose name tells the sale.
    pub fn records_key(&self) -> String {
        format!("idempotency:{{{}}}:{}", self.product, self.id)
    }

    /// The record of an order; empty where there is none.
    pub fn record(&self, client: &mut Client, order: &str) -> String {
        strings(client.command(&["HMGET", &self.records_key(), order])).remove(0)
    }

    pub fn reserve_reply(&self, client: &mut Client, orders: &[Order]) -> OwnedFrame {
        reserve_reply(client, &[(self, orders)])
    }

    /// A reserve call of one group.
    pub fn reserve(&self, client: &mut Client, orders: &[Order]) -> Vec<String> {
        strings(self.reserve_reply(client, orders))
    }

    /// Heads and codes without the entry id of the head, and without that of an R code.
    pub fn codes(&self, client: &mut Client, orders: &[Order]) -> Vec<String> {
        let mut reply = self.reserve(client, orders);
        if reply[0].starts_with(['A', 'M']) {
            reply[0].truncate(1);
        }
        for code in &mut reply[1..] {
            if code.starts_with('R') {
                code.truncate(code.rfind(' ').expect("an entry id"));
            }
        }
        reply
    }

    pub fn stock(&self, client: &mut Client) -> u64 {
        text(client.command(&["GET", &self.key("stock")])).parse().expect("a number")
    }

    /// `refresh` of this product alone; `fresh`: by a caller who has seen the history that it is bound to until just now.
    pub fn refresh(&self, client: &mut Client, fresh: bool) -> Refreshed {
        self.refresh_of(client, fresh, "")
    }

    /// The same by an edge of `topic`.
    pub fn refresh_of(&self, client: &mut Client, fresh: bool, topic: &str) -> Refreshed {
        let bound = client.command(&["HGET", &self.key("sale"), "replid"]);
        let vouched = if let (true, OwnedFrame::BulkString(_)) = (fresh, &bound) { text(bound) } else { String::new() };
        let arguments = [vouched, topic.to_owned()];
        let reply = client.call(|scripts| &scripts.refresh, &keys(&self.product), &arguments);
        let fields = strings(reply);
        assert_eq!(fields.len(), 15);
        Refreshed(fields)
    }

    pub fn close(&self, client: &mut Client) -> Vec<String> {
        self.close_of(client, "")
    }

    /// The same by an edge of `topic`.
    pub fn close_of(&self, client: &mut Client, topic: &str) -> Vec<String> {
        strings(client.call(|scripts| &scripts.close, &keys(&self.product), &[topic.to_owned()]))
    }

    /// `close` by a caller who says which sale and generation it has seen.
    pub fn close_as_seen(&self, client: &mut Client) -> Vec<String> {
        let [id, generation] = self.seen();
        strings(client.call(|scripts| &scripts.close, &keys(&self.product), &[String::new(), id, generation]))
    }

    /// `init` with force by such a caller.
    pub fn open_as_seen(&self, client: &mut Client) -> Vec<String> {
        let mut arguments =
            ["10", "0", "100", "1", "", &"5e".repeat(32), "0", "0", "retry", ""].map(str::to_owned).to_vec();
        arguments.extend(self.seen());
        strings(client.call(|scripts| &scripts.init, &keys(&self.product), &arguments))
    }

    /// What a caller says that has seen this one.
    pub fn seen(&self) -> [String; 2] {
        [self.id.clone(), self.told_generation()]
    }

    /// Its generation as a caller tells it.
    pub fn told_generation(&self) -> String {
        match &self.fence {
            Some(fence) => format!("{} {fence}", self.generation),
            None => self.generation.to_string(),
        }
    }

    /// As it stands where it was opened under a fence.
    pub fn put_under_a_fence(&self, client: &mut Client) {
        client.command(&["HSET", &self.key("sale"), "state", "fenced", "fenced", "1"]);
    }

    /// `status` of one order: its letter, or S.
    pub fn status(&self, client: &mut Client, order: &str) -> String {
        statuses(client, &[(self, &[order])]).remove(0)
    }

    /// `lookup` of orders of this sale: the units for sale and the places of those that have a record, or a letter.
    pub fn lookup(&self, client: &mut Client, orders: &[&str]) -> String {
        lookups(client, &[(self, orders)]).remove(0)
    }

    /// `lease`: granted, life in µs, next due in µs, state.
    pub fn lease(&self, client: &mut Client, wanted: u64, life_us: u64) -> (i64, u64, u64, String) {
        let keys = [self.key("rate"), self.key("sale"), self.key("stock")];
        let mut arguments = vec![wanted.to_string(), life_us.to_string()];
        arguments.extend(self.seen());
        let reply = client.call(|scripts| &scripts.lease, &keys, &arguments);
        let parts = strings(reply);
        let number = |text: &str| text.parse().expect("a number");
        (parts[0].parse().expect("a number"), number(&parts[1]), number(&parts[2]), parts[3].clone())
    }

    /// `relay` as edge `edge`: entries as (id, head, lines).
    pub fn relay(&self, client: &mut Client, edge: &str, arguments: &[&str]) -> Vec<Entry> {
        self.relay_on(client, edge, arguments).0
    }

    /// The same, and behind which entry the walk goes on; "" where it has come to the end.
    pub fn relay_on(&self, client: &mut Client, edge: &str, arguments: &[&str]) -> (Vec<Entry>, String) {
        let keys = [self.key("outbox"), self.key("claims"), self.key("sale")];
        let arguments: Vec<String> = std::iter::once(&edge).chain(arguments).map(|text| text.to_string()).collect();
        let flat = strings(client.call(|scripts| &scripts.relay, &keys, &arguments));
        let entries = flat.chunks_exact(3);
        let behind = entries.remainder().concat();
        (entries.map(|entry| (entry[0].clone(), entry[1].clone(), entry[2].clone())).collect(), behind)
    }

    pub fn settle(&self, client: &mut Client, entries: &[String]) -> String {
        text(client.call(|scripts| &scripts.settle, &[self.key("outbox"), self.key("claims")], entries))
    }
}

/// One `status` call for several products: for each its letters.
pub fn statuses(client: &mut Client, groups: &[(&Sale, &[&str])]) -> Vec<String> {
    let call_keys: Vec<String> = groups.iter().flat_map(|(sale, _)| [sale.key("outbox"), sale.key("sale")]).collect();
    let mut arguments = vec![groups.len().to_string()];
    for (sale, orders) in groups {
        arguments.push(orders.len().to_string());
        arguments.extend(sale.seen());
        arguments.extend(orders.iter().map(|order| (*order).to_owned()));
    }
    strings(client.call(|scripts| &scripts.status, &call_keys, &arguments))
}

/// One `lookup` call for several sales, by a caller that has seen nothing later.
pub fn lookups(client: &mut Client, groups: &[(&Sale, &[&str])]) -> Vec<String> {
    let groups: Vec<(&Sale, &Sale, &[&str])> = groups.iter().map(|(sale, orders)| (*sale, *sale, *orders)).collect();
    lookups_as_seen(client, &groups)
}

/// The same for orders of the first sale of each, by a caller that has seen the second.
pub fn lookups_as_seen(client: &mut Client, groups: &[(&Sale, &Sale, &[&str])]) -> Vec<String> {
    let keys_of = |sale: &Sale| [sale.key("stock"), sale.key("sale"), sale.records_key()];
    let call_keys: Vec<String> = groups.iter().flat_map(|(sale, ..)| keys_of(sale)).collect();
    let mut arguments = vec![groups.len().to_string()];
    for (sale, seen, orders) in groups {
        arguments.extend([sale.id.clone(), orders.len().to_string()]);
        arguments.extend(seen.seen());
        arguments.extend(orders.iter().map(|order| (*order).to_owned()));
    }
    strings(client.call(|scripts| &scripts.replay_lookup, &call_keys, &arguments))
}

/// One call for several sales.
pub fn reserve_reply(client: &mut Client, groups: &[(&Sale, &[Order])]) -> OwnedFrame {
    let (first, _) = groups[0];
    let (mut call_keys, mut arguments) = (Vec::new(), Vec::new());
    arguments.extend([groups.len().to_string(), first.orders_max.to_string()]);
    for (sale, orders) in groups {
        call_keys.extend(keys(&sale.product).into_iter().take(6));
        call_keys.push(sale.records_key());
        arguments.extend([orders.len().to_string(), sale.id.clone(), sale.told_generation(), "3".to_owned()]);
        // As `Call::fill` of `gate.rs` does.
        let quantities: Vec<String> = orders
            .iter()
            .map(|order| order.slot.map_or(order.quantity.to_string(), |slot| format!("{} {slot}", order.quantity)))
            .collect();
        let is_shared = orders[0].slot.is_none() && quantities.iter().all(|quantity| *quantity == quantities[0]);
        arguments.push(if is_shared { quantities[0].clone() } else { String::new() });
        for (place, order) in orders.iter().enumerate() {
            let end = if place + 1 < orders.len() { "\n" } else { "" };
            arguments.extend([format!("{} {} ", order.reservation, order.quantity), order.id.clone()]);
            arguments.push(format!(" {} 1705234800123{end}", order.user));
        }
        arguments.extend(quantities.into_iter().filter(|_| !is_shared));
    }
    client.call(|scripts| &scripts.reserve, &call_keys, &arguments)
}

/// What `look` says of one product.
#[derive(Debug, PartialEq, Eq)]
pub struct Refreshed(pub Vec<String>);

impl Refreshed {
    pub fn state(&self) -> (&str, &str) {
        (&self.0[0], &self.0[1])
    }
}
