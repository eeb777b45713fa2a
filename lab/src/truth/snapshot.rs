//! Reads the servers, each in one snapshot of its own, and again until there is a moment at which all three held what was
//! read.
//!
//! Redis is read in one `MULTI`, the ledger in one transaction, and the three one after the other. Where a second reading
//! finds in all of them what the first found, none of them changed between the end of the one and the beginning of the
//! other: for that moment the whole is true. A system under load has none that could be seen from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use flux_protocol::order::{TopicRecord, Uuid};
use postgres::IsolationLevel;
use redis::{FromRedisValue, Pipeline, Value};

use super::{
    DeadLetter, EarlierSale, LedgerSale, OutboxOrder, RedisSale, RejectedOrder, ReturnedUnits, Sources, StoredOrder,
    TopicOrder, Truth,
};
use crate::error::{Doing, LabError};
use crate::servers::{postgres as postgres_server, redis as redis_server};
use crate::topic::TopicReader;

/// Between two readings that are to agree.
const READ_AGAIN: Duration = Duration::from_millis(50);
/// What is asked of a product's keys, by the last word of each name.
const KEYS: [(&str, &[&str]); 5] = [
    ("sale", &["HGETALL"]),
    ("stock", &["GET"]),
    ("returned", &["SMEMBERS"]),
    ("outbox", &["XRANGE", "-", "+"]),
    ("sales", &["HGETALL"]),
];

impl Truth {
    /// Reads everything, as of one moment.
    ///
    /// # Errors
    /// Where a server cannot be read, holds what no version of ours writes, or two readings never agree within `patience`.
    pub fn read(sources: &Sources, patience: Duration) -> Result<Truth, LabError> {
        let until = Instant::now() + patience;
        let mut before = Truth::read_apart(sources)?;
        loop {
            std::thread::sleep(READ_AGAIN);
            let again = Truth::read_apart(sources)?;
            if again == before {
                return Ok(again);
            }
            if Instant::now() >= until {
                let text = format!("no two readings of Redis, topic and ledger agreed within {patience:?}");
                return Err(LabError::failed(text));
            }
            before = again;
        }
    }

    /// One snapshot of each server, at three moments.
    fn read_apart(sources: &Sources) -> Result<Truth, LabError> {
        let mut truth = Truth::default();
        let mut reader = TopicReader::new(&sources.kafka, &sources.topic);
        truth.read_ledger(&sources.postgres, &reader.topic_id()?.to_string())?;
        truth.read_redis(&sources.redis)?;
        truth.read_topic(&mut reader)?;
        Ok(truth)
    }

    /// Every product that the registry or the ledger names.
    fn read_redis(&mut self, url: &str) -> Result<(), LabError> {
        let mut redis = redis_server::connect(url)?;
        let mut registry = BTreeSet::<String>::new();
        loop {
            let products: BTreeSet<String> = self.products.keys().cloned().chain(registry).collect();
            let mut snapshot = redis::pipe();
            snapshot.atomic().cmd("SMEMBERS").arg("flux:products");
            products.iter().for_each(|product| ask_for(&mut snapshot, product));
            let answers: Vec<Value> = snapshot.query(&mut redis).doing(|| "reading every sale".to_owned())?;
            let mut answers = answers.into_iter();
            registry = read(answers.next(), "flux:products")?;
            // It keeps the registry from vanishing, and is no product.
            registry.remove(".");
            if registry.is_subset(&products) {
                return products.iter().try_for_each(|product| self.read_sale(product, &mut answers));
            }
        }
    }

    /// The answers to [`ask_for`].
    fn read_sale(&mut self, product: &str, answers: &mut impl Iterator<Item = Value>) -> Result<(), LabError> {
        let key = |name: &str| format!("product:{{{product}}}:{name}");
        let [sale, stock, returned, outbox, earlier] = KEYS.map(|(name, _)| (answers.next(), key(name)));
        let fields: BTreeMap<String, String> = read(sale.0, &sale.1)?;
        let number = |name: &str| fields.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        let stock: Option<String> = read(stock.0, &stock.1)?;
        let returned: Vec<String> = read(returned.0, &returned.1)?;
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
        let entries: Vec<(String, Vec<String>)> = read(outbox.0, &outbox.1)?;
        for (id, fields) in entries {
            let orders = outbox_orders(&fields)
                .ok_or_else(|| LabError::failed(format!("entry {id} of {} cannot be read", outbox.1)))?;
            sale.outbox.extend(orders);
        }
        let notes: BTreeMap<String, String> = read(earlier.0, &earlier.1)?;
        for (sale_id, text) in notes {
            let (Ok(sale_id), Ok(json)) = (sale_id.parse(), serde_json::from_str::<serde_json::Value>(&text)) else {
                continue;
            };
            let number = |name: &str| json[name].as_u64().unwrap_or(0);
            let note = EarlierSale {
                total: number("total"),
                withdrawn: number("withdrawn"),
                generation: number("generation"),
            };
            self.earlier.insert((product.to_owned(), sale_id), note);
        }
        self.redis.insert(product.to_owned(), sale);
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
        self.ends.clone_from(reader.positions());
        Ok(())
    }

    fn read_ledger(&mut self, url: &str, topic_id: &str) -> Result<(), LabError> {
        let mut client = postgres_server::connect(url)?;
        let begun = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start();
        let mut snapshot = begun.doing(|| "beginning a snapshot of the ledger".to_owned())?;
        let mut rows = |table: &str, columns: &str| {
            let sql = format!("SELECT {columns} FROM {table}");
            snapshot.query(&sql, &[]).doing(|| format!("reading {table}"))
        };
        for row in rows("products", "id, stock, sale_id")? {
            self.products.insert(row.get(0), (row.get(1), unsigned(row.get(2))?));
        }
        for row in rows("sales", "product_id, sale_id, total, sold, withdrawn, state, generation, rate IS NOT NULL")? {
            let sale = LedgerSale {
                total: unsigned(row.get(2))?,
                sold: unsigned(row.get(3))?,
                withdrawn: unsigned(row.get(4))?,
                state: row.get(5),
                generation: unsigned(i64::from(row.get::<_, i32>(6)))?,
                is_announced: row.get(7),
            };
            self.sales.insert((row.get(0), unsigned(row.get(1))?), sale);
        }
        let columns = "id::text, product_id, user_id, quantity, sale_id, reservation_id::text";
        for row in rows("orders ORDER BY id", columns)? {
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
        for row in rows("rejected ORDER BY order_id, reservation_id", columns)? {
            self.rejected.push(RejectedOrder {
                order_id: uuid(row.get(0))?,
                reservation_id: uuid(row.get(1))?,
                reason: row.get(2),
                product: row.get(3),
                sale_id: unsigned(row.get(4))?,
                quantity: unsigned(i64::from(row.get::<_, i32>(5)))?,
            });
        }
        let columns = "reservation_id::text, product_id, sale_id, quantity, state";
        for row in rows("returns ORDER BY reservation_id", columns)? {
            self.returns.push(ReturnedUnits {
                reservation_id: uuid(row.get(0))?,
                product: row.get(1),
                sale_id: unsigned(row.get(2))?,
                quantity: unsigned(i64::from(row.get::<_, i32>(3)))?,
                state: row.get(4),
            });
        }
        let columns = "partition, kafka_offset, product_id, sale_id, quantity";
        for row in rows("dead_letters ORDER BY partition, kafka_offset", columns)? {
            let known = (row.get::<_, Option<String>>(2), row.get::<_, Option<i64>>(3), row.get::<_, Option<i32>>(4));
            let units = match known {
                (Some(product), Some(sale_id), Some(quantity)) => {
                    Some((product, unsigned(sale_id)?, unsigned(i64::from(quantity))?))
                }
                _ => None,
            };
            self.dead_letters.push(DeadLetter { partition: row.get(0), offset: row.get(1), units });
        }
        for row in rows("offsets", "topic_id::text, partition, next_offset")? {
            if row.get::<_, &str>(0) == topic_id {
                self.positions.insert(row.get(1), row.get(2));
            }
        }
        Ok(())
    }
}

/// Puts the questions about one product into a transaction, in the order of [`KEYS`].
fn ask_for(snapshot: &mut Pipeline, product: &str) {
    for (name, words) in KEYS {
        snapshot.cmd(words[0]).arg(format!("product:{{{product}}}:{name}"));
        words[1..].iter().for_each(|word| {
            snapshot.arg(*word);
        });
    }
}

/// One answer of a transaction.
fn read<T: FromRedisValue>(answer: Option<Value>, key: &str) -> Result<T, LabError> {
    let answer = answer.ok_or_else(|| LabError::failed(format!("reading {key}: no answer")))?;
    T::from_redis_value(answer).map_err(|error| LabError::failed(format!("reading {key}: {error}")))
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
