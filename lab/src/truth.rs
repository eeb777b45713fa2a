//! What Redis, the raw topic and PostgreSQL hold, read from outside at a quiet moment.
//!
//! Never writes anything; knows nothing of what edge and worker keep in memory.

use std::collections::{BTreeMap, BTreeSet};

use flux_protocol::order::{OwnedRecord, TopicRecord, Uuid};
use redis::FromRedisValue;

use crate::error::{Doing, LabError};
use crate::servers::{postgres, redis as redis_server};
use crate::topic::TopicReader;

/// Where to look.
#[derive(Clone, Debug)]
pub struct Sources {
    /// `redis://…`
    pub redis: String,
    /// `host:port`, comma between.
    pub kafka: String,
    /// The topic of the orders.
    pub topic: String,
    /// `postgres://…`
    pub postgres: String,
}

/// A sale by product and sale id.
pub type SaleKey = (String, u64);

/// Everything that the servers hold about orders.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// Current sales, by product.
    pub redis: BTreeMap<String, RedisSale>,
    /// Sales before the current ones.
    pub earlier: BTreeMap<SaleKey, EarlierSale>,
    /// Orders in the topic, in order of partition and offset; redeliveries included.
    pub topic: Vec<TopicOrder>,
    /// Totals of the sales as the topic's events tell them.
    pub opened: BTreeMap<SaleKey, u64>,
    /// Records that are neither order nor event.
    pub poison: u64,
    /// The ledger's sales.
    pub sales: BTreeMap<SaleKey, LedgerSale>,
    /// The ledger's products: stock and sale id.
    pub products: BTreeMap<String, (i64, u64)>,
    /// The ledger's orders.
    pub orders: Vec<StoredOrder>,
    /// Orders that the ledger refused.
    pub rejected: Vec<RejectedOrder>,
    /// Second reservations of stored orders.
    pub returns: Vec<ReturnedUnits>,
    /// Records that could not be stored.
    pub dead_letters: Vec<DeadLetter>,
}

/// A sale as Redis has it.
#[derive(Clone, Debug, Default)]
pub struct RedisSale {
    /// Its id, generation and total; 0 where they are missing.
    pub sale_id: u64,
    /// How often it was rebuilt, plus one.
    pub generation: u64,
    /// Units in all.
    pub total: u64,
    /// `open`, `closed` or `suspended`.
    pub state: String,
    /// Units left; `None` where the key is missing or no number.
    pub stock: Option<u64>,
    /// Units taken back unsold.
    pub withdrawn: u64,
    /// Orders in the outbox, of any sale of the product.
    pub outbox: Vec<OutboxOrder>,
    /// Reservations whose units were given back.
    pub returned: BTreeSet<Uuid>,
}

/// A sale that was followed by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlierSale {
    /// Units in all.
    pub total: u64,
    /// Units that were left when it ended.
    pub withdrawn: u64,
}

/// One order in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxOrder {
    /// Its sale.
    pub sale_id: u64,
    /// Which taking of units.
    pub reservation_id: Uuid,
    /// Which order.
    pub order_id: Uuid,
    /// Units.
    pub quantity: u64,
}

/// One order in the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicOrder {
    /// Where it stands.
    pub partition: i32,
    /// Where it stands in the partition.
    pub offset: i64,
    /// What it says.
    pub record: OwnedRecord,
}

/// A sale as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerSale {
    /// Units in all.
    pub total: u64,
    /// Units stored, as counted by the worker.
    pub sold: u64,
    /// Units taken back unsold.
    pub withdrawn: u64,
    /// `open` or `closed`.
    pub state: String,
    /// How often it was rebuilt, plus one.
    pub generation: u64,
}

/// A row of `orders`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOrder {
    /// Which order.
    pub order_id: Uuid,
    /// Its product.
    pub product: String,
    /// Its user.
    pub user: String,
    /// Units.
    pub quantity: u64,
    /// Its sale.
    pub sale_id: u64,
    /// Which taking of units.
    pub reservation_id: Uuid,
}

/// A row of `rejected`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedOrder {
    /// Which order.
    pub order_id: Uuid,
    /// Which taking of units.
    pub reservation_id: Uuid,
    /// `no_room` or `key_reused`.
    pub reason: String,
    /// Its product.
    pub product: String,
    /// Its sale.
    pub sale_id: u64,
    /// Units.
    pub quantity: u64,
}

/// A row of `returns`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnedUnits {
    /// Which taking of units.
    pub reservation_id: Uuid,
    /// Its product.
    pub product: String,
    /// Its sale.
    pub sale_id: u64,
    /// Units.
    pub quantity: u64,
    /// `pending`, `returned`, `absorbed` or `withdrawn`.
    pub state: String,
}

/// A row of `dead_letters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it stood.
    pub partition: i32,
    /// Where it stood in the partition.
    pub offset: i64,
    /// Product, sale and units, where they are known.
    pub units: Option<(String, u64, u64)>,
}

impl Truth {
    /// Reads everything. Redis first, the ledger last: an order on its way meanwhile is then seen at least once.
    ///
    /// # Errors
    /// Where a server cannot be read, or holds what no version of ours writes.
    pub fn read(sources: &Sources) -> Result<Truth, LabError> {
        let mut truth = Truth::default();
        let mut client = postgres::connect(&sources.postgres)?;
        let rows = client.query("SELECT id, stock, sale_id FROM products", &[]).doing(|| "reading products".into())?;
        for row in rows {
            truth.products.insert(row.get(0), (row.get(1), unsigned(row.get(2))?));
        }
        truth.read_redis(&sources.redis)?;
        truth.read_topic(&mut TopicReader::new(&sources.kafka, &sources.topic))?;
        truth.read_ledger(&mut client)?;
        Ok(truth)
    }

    fn read_redis(&mut self, url: &str) -> Result<(), LabError> {
        let mut redis = redis_server::connect(url)?;
        let registry: Vec<String> = ask(&mut redis, &["SMEMBERS", "flux:products"])?;
        let products: BTreeSet<String> = registry.into_iter().chain(self.products.keys().cloned()).collect();
        for product in products {
            let key = |name: &str| format!("product:{{{product}}}:{name}");
            let fields: BTreeMap<String, String> = ask(&mut redis, &["HGETALL", &key("sale")])?;
            let number = |name: &str| fields.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
            let stock: Option<String> = ask(&mut redis, &["GET", &key("stock")])?;
            let returned: Vec<String> = ask(&mut redis, &["SMEMBERS", &key("returned")])?;
            let mut sale = RedisSale {
                sale_id: number("id"),
                generation: number("gen"),
                total: number("total"),
                state: fields.get("state").cloned().unwrap_or_default(),
                stock: stock.and_then(|text| text.parse().ok()),
                withdrawn: number("withdrawn"),
                outbox: Vec::new(),
                // The marker is no UUID and falls out here.
                returned: returned.iter().filter_map(|text| Uuid::parse(text.as_bytes())).collect(),
            };
            let entries: Vec<(String, Vec<String>)> = ask(&mut redis, &["XRANGE", &key("outbox"), "-", "+"])?;
            for (id, fields) in entries {
                let orders = outbox_orders(&fields)
                    .ok_or_else(|| LabError::failed(format!("entry {id} of {} cannot be read", key("outbox"))))?;
                sale.outbox.extend(orders);
            }
            let earlier: BTreeMap<String, String> = ask(&mut redis, &["HGETALL", &key("sales")])?;
            for (sale_id, text) in earlier {
                let (Ok(sale_id), Ok(json)) = (sale_id.parse(), serde_json::from_str::<serde_json::Value>(&text))
                else {
                    continue;
                };
                let number = |name: &str| json[name].as_u64().unwrap_or(0);
                let earlier = EarlierSale { total: number("total"), withdrawn: number("withdrawn") };
                self.earlier.insert((product.clone(), sale_id), earlier);
            }
            self.redis.insert(product, sale);
        }
        Ok(())
    }

    fn read_topic(&mut self, reader: &mut TopicReader) -> Result<(), LabError> {
        for raw in reader.read()? {
            match TopicRecord::parse(&raw.value) {
                Ok(TopicRecord::Order(record)) => {
                    self.topic.push(TopicOrder { partition: raw.partition, offset: raw.offset, record });
                }
                Ok(TopicRecord::SaleOpened(sale)) => {
                    self.opened.insert((sale.product_id, sale.sale_id), sale.sale_total);
                }
                Ok(TopicRecord::SaleClosed(_)) => {}
                Err(_) => self.poison += 1,
            }
        }
        Ok(())
    }

    fn read_ledger(&mut self, client: &mut ::postgres::Client) -> Result<(), LabError> {
        let mut rows = |table: &str, columns: &str| {
            let sql = format!("SELECT {columns} FROM {table}");
            client.query(&sql, &[]).doing(|| format!("reading {table}"))
        };
        for row in rows("sales", "product_id, sale_id, total, sold, withdrawn, state, generation")? {
            let sale = LedgerSale {
                total: unsigned(row.get(2))?,
                sold: unsigned(row.get(3))?,
                withdrawn: unsigned(row.get(4))?,
                state: row.get(5),
                generation: unsigned(i64::from(row.get::<_, i32>(6)))?,
            };
            self.sales.insert((row.get(0), unsigned(row.get(1))?), sale);
        }
        let columns = "id::text, product_id, user_id, quantity, sale_id, reservation_id::text";
        for row in rows("orders", columns)? {
            self.orders.push(StoredOrder {
                order_id: uuid(row.get(0))?,
                product: row.get(1),
                user: row.get(2),
                quantity: unsigned(i64::from(row.get::<_, i32>(3)))?,
                sale_id: unsigned(row.get(4))?,
                reservation_id: uuid(row.get(5))?,
            });
        }
        let columns = "order_id::text, reservation_id::text, reason, product_id, sale_id, quantity";
        for row in rows("rejected", columns)? {
            self.rejected.push(RejectedOrder {
                order_id: uuid(row.get(0))?,
                reservation_id: uuid(row.get(1))?,
                reason: row.get(2),
                product: row.get(3),
                sale_id: unsigned(row.get(4))?,
                quantity: unsigned(i64::from(row.get::<_, i32>(5)))?,
            });
        }
        for row in rows("returns", "reservation_id::text, product_id, sale_id, quantity, state")? {
            self.returns.push(ReturnedUnits {
                reservation_id: uuid(row.get(0))?,
                product: row.get(1),
                sale_id: unsigned(row.get(2))?,
                quantity: unsigned(i64::from(row.get::<_, i32>(3)))?,
                state: row.get(4),
            });
        }
        for row in rows("dead_letters", "partition, kafka_offset, product_id, sale_id, quantity")? {
            let known = (row.get::<_, Option<String>>(2), row.get::<_, Option<i64>>(3), row.get::<_, Option<i32>>(4));
            let units = match known {
                (Some(product), Some(sale_id), Some(quantity)) => {
                    Some((product, unsigned(sale_id)?, unsigned(i64::from(quantity))?))
                }
                _ => None,
            };
            self.dead_letters.push(DeadLetter { partition: row.get(0), offset: row.get(1), units });
        }
        Ok(())
    }

    /// The ids of all sales of `product` that any of the servers knows.
    pub fn sale_ids(&self, product: &str) -> BTreeSet<u64> {
        let of_product = |(name, id): &SaleKey| (name == product).then_some(*id);
        let mut ids: BTreeSet<u64> = self.sales.keys().filter_map(of_product).collect();
        ids.extend(self.opened.keys().filter_map(of_product));
        ids.extend(self.earlier.keys().filter_map(of_product));
        ids.extend(self.redis.get(product).map(|sale| sale.sale_id).filter(|id| *id != 0));
        ids
    }
}

/// The orders of one outbox entry: `h` = "partition sale total generation n", `o` = n lines.
fn outbox_orders(fields: &[String]) -> Option<Vec<OutboxOrder>> {
    let field = |name: &str| fields.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| pair[1].as_str());
    let head: Vec<&str> = field("h")?.split(' ').collect();
    let (sale_id, count) = (head.get(1)?.parse().ok()?, head.get(4)?.parse::<usize>().ok()?);
    let order = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        Some(OutboxOrder {
            sale_id,
            reservation_id: Uuid::parse(words.first()?.as_bytes())?,
            quantity: words.get(1)?.parse().ok()?,
            order_id: Uuid::parse(words.get(2)?.as_bytes())?,
        })
    };
    let orders: Option<Vec<OutboxOrder>> = field("o")?.split('\n').map(order).collect();
    orders.filter(|orders| orders.len() == count)
}

fn ask<T: FromRedisValue>(connection: &mut redis::Connection, command: &[&str]) -> Result<T, LabError> {
    let mut asked = redis::cmd(command[0]);
    command[1..].iter().for_each(|word| {
        asked.arg(*word);
    });
    asked.query(connection).doing(|| command.join(" "))
}

fn unsigned(number: i64) -> Result<u64, LabError> {
    u64::try_from(number).map_err(|_| LabError::failed(format!("the ledger holds {number} where none is below 0")))
}

fn uuid(text: String) -> Result<Uuid, LabError> {
    Uuid::parse(text.as_bytes()).ok_or_else(|| LabError::failed(format!("{text:?} is no UUID")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outbox_entry_is_read_or_refused_whole() {
        let (a, b) = (Uuid::version_8([1; 16]), Uuid::version_8([2; 16]));
        let fields = |o: &str| ["h", "3 1705 100 1 2", "o", o].map(str::to_owned).to_vec();
        let lines = format!("{a} 1 {b} user-1 1700\n{b} 7 {a} user-2 1701");
        let orders = outbox_orders(&fields(&lines)).unwrap();
        assert_eq!(orders[1], OutboxOrder { sale_id: 1705, reservation_id: b, order_id: a, quantity: 7 });
        assert_eq!(orders.len(), 2);
        assert!(outbox_orders(&fields(lines.lines().next().unwrap())).is_none(), "one line is missing");
        assert!(outbox_orders(&[]).is_none());
    }
}
