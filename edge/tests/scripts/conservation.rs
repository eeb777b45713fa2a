//! A random battery under one seed, every reply foretold by a model of a few lines.

use std::collections::{BTreeMap, HashMap};

use crate::sale::{Options, Order, PLAIN, Sale, order};
use crate::server::{Client, Server, strings};

/// What should be in Redis for one product.
#[derive(Default)]
struct Model {
    total: u64,
    left: u64,
    per_user: u64,
    users: HashMap<String, u64>,
    /// By order id: reservation, quantity, entry.
    records: HashMap<String, (String, u64, String)>,
    /// By entry: the orders in it.
    outbox: BTreeMap<String, Vec<Order>>,
}

impl Model {
    /// The codes that a batch must get; accepted orders are taken in under an entry id that is not known yet.
    fn reserve(&mut self, batch: &[Order]) -> (Vec<String>, Vec<Order>) {
        let (mut codes, mut accepted) = (Vec::new(), Vec::new());
        for order in batch {
            let of_user = self.users.get(&order.user).copied().unwrap_or(0);
            codes.push(if let Some((reservation, quantity, entry)) = self.records.get(&order.id) {
                let delivered = u8::from(!entry.is_empty() && !self.outbox.contains_key(entry));
                format!("R{reservation} {quantity} {delivered}")
            } else if self.left == 0 {
                "0".into()
            } else if self.per_user > 0 && of_user + order.quantity > self.per_user {
                "L".into()
            } else if order.quantity > self.left {
                format!("I{}", self.left)
            } else {
                self.left -= order.quantity;
                *self.users.entry(order.user.clone()).or_default() += order.quantity;
                let record = (order.reservation.clone(), order.quantity, String::new());
                self.records.insert(order.id.clone(), record);
                accepted.push(order.clone());
                "+".into()
            });
        }
        (codes, accepted)
    }

    fn check(&self, client: &mut Client, sale: &Sale) {
        assert_eq!(sale.stock(client), self.left);
        let pending: u64 = self.outbox.values().flatten().map(|order| order.quantity).sum();
        let delivered: u64 =
            self.records.values().filter(|(.., entry)| !self.outbox.contains_key(entry)).map(|r| r.1).sum();
        assert_eq!(self.left + pending + delivered, self.total, "stock and reservations make the total");
        let look = sale.refresh(client, true);
        let orders = self.outbox.values().map(Vec::len).sum::<usize>();
        assert_eq!(look.0[8], self.outbox.len().to_string());
        assert!(look.0[10].parse::<usize>().expect("a number") >= orders);
        assert_eq!(look.0[12], self.outbox.keys().next_back().cloned().unwrap_or_default());
        for (id, (reservation, quantity, entry)) in &self.records {
            assert_eq!(sale.record(client, id), format!("{reservation} {quantity} {entry}"));
        }
    }
}

#[test]
fn whatever_is_asked_units_are_neither_made_nor_lost() {
    let server = Server::start();
    let mut client = server.connect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below
    };
    for round in 0..12 {
        let (total, per_user) = (20 + random(300), [0, 0, 5][round % 3]);
        let product = format!("p{round}");
        let sale = Sale::open(&mut client, &product, &Options { total, per_user, ..PLAIN });
        let mut model = Model { total, left: total, per_user, ..Model::default() };
        for call in 0..60 {
            let batch: Vec<Order> = (0..1 + random(40))
                .map(|n| {
                    let id = format!("o{}", random(200));
                    order(&format!("r{call}-{n}"), 1 + random(4), &id, &format!("u{}", random(30)))
                })
                .collect();
            let (codes, accepted) = model.reserve(&batch);
            let reply = codes_and_entry(&sale, &mut client, &batch);
            if accepted.len() == batch.len() {
                assert_eq!(reply.0, ["A"]);
            } else {
                assert_eq!(reply.0[0], "M");
                assert_eq!(reply.0[1..], codes);
            }
            for order in &accepted {
                model.records.get_mut(&order.id).expect("taken in above").2 = reply.1.clone();
            }
            if !accepted.is_empty() {
                model.outbox.insert(reply.1, accepted);
            }
            // Some entries are delivered: by their edge, or by a relay.
            while random(3) == 0 && !model.outbox.is_empty() {
                let at = random(model.outbox.len() as u64) as usize;
                let entry = model.outbox.keys().nth(at).expect("within").clone();
                if random(2) == 0 {
                    client.command(&["XDEL", &sale.key("outbox"), &entry]);
                } else {
                    sale.relay(&mut client, "e", &["0", "0", "50"]);
                    assert_eq!(sale.settle(&mut client, std::slice::from_ref(&entry)), "1");
                }
                model.outbox.remove(&entry);
            }
        }
        model.check(&mut client, &sale);
        let (withdrawn, left) = (sale.close(&mut client)[4].clone(), model.left);
        assert_eq!(withdrawn, left.to_string());
    }
    assert_eq!(strings(client.run("KEYS *:claims")).len(), 12);
}

/// [`Sale::codes`] and the entry id that the head named.
fn codes_and_entry(sale: &Sale, client: &mut Client, batch: &[Order]) -> (Vec<String>, String) {
    let mut reply = sale.reserve(client, batch);
    let entry = reply[0].split_off(1);
    for code in &mut reply[1..] {
        if code.starts_with('R') {
            code.truncate(code.rfind(' ').expect("an entry id"));
        }
    }
    (reply, entry)
}
