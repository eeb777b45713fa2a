//! Reads the three servers and draws up the accounts.

use std::collections::{BTreeMap, BTreeSet};

use flux_protocol::order::{TopicRecord, Uuid};
use flux_protocol::postgres::{Param, Row};
use flux_protocol::redis_keys;
use flux_protocol::resp::{OwnedFrame, command};
use tracing::info;

use super::account::Account;
use crate::ledger::{Ledger, LedgerError};
use crate::oneshot::{self, Ended, Log};
use crate::outbox::OutboxEntry;
use crate::progress::told;
use crate::redis::{Redis, RedisError, array, info_field, strings, text};

type SaleKey = (String, u64);

/// The state of a sale of whose opening nothing has come: its total is what is known of it.
const UNANNOUNCED: &str = "unannounced";

/// A reservation that is somewhere between Redis and the ledger.
struct OnItsWay {
    sale: SaleKey,
    order_id: Uuid,
    quantity: u16,
    place: String,
}

/// What Redis holds of a product.
#[derive(Default)]
struct InRedis {
    sale: BTreeMap<String, String>,
    stock: Option<u64>,
    entries: Vec<OutboxEntry>,
    returned: BTreeSet<String>,
    /// Sale id, total, withdrawn, and the generation that it ended with.
    earlier: Vec<(u64, u64, u64, u32)>,
    faults: Vec<String>,
}

pub(super) async fn accounts(
    ledger: &mut Ledger,
    redis: &mut Redis,
    log: &mut Log,
    product: Option<&str>,
) -> Result<Vec<Account>, Ended> {
    let mut accounts: BTreeMap<SaleKey, Account> = BTreeMap::new();
    let mut on_their_way: BTreeMap<Uuid, OnItsWay> = BTreeMap::new();
    let mut returned: BTreeSet<String> = BTreeSet::new();
    // Sales of another topic, under names that may have been ours.
    let mut foreign: BTreeSet<SaleKey> = BTreeSet::new();
    // Redis first.
    let replication = text(redis.ask(&[b"INFO", b"replication"]).await?)?;
    for product in products(ledger, redis, product).await? {
        let held = in_redis(redis, &product, info_field(&replication, "master_replid")).await?;
        if held.sale.get("topic").is_some_and(|noted| noted != log.topic()) {
            info!(product, topic = held.sale["topic"], "the sale in Redis is of another topic: not looked at");
            let id = held.sale.get("id").and_then(|id| id.parse().ok());
            foreign.extend(id.map(|id| (product, id)));
            continue;
        }
        for entry in &held.entries {
            for order in &entry.orders {
                on_their_way.entry(order.reservation_id).or_insert_with(|| OnItsWay {
                    sale: (product.clone(), entry.head.sale_id),
                    order_id: order.order_id,
                    quantity: order.quantity,
                    place: format!("outbox entry {}", entry.id),
                });
            }
        }
        open_accounts(&mut accounts, &product, &held);
        returned.extend(held.returned);
    }
    // Then the log, from where the ledger stands.
    let ends = log.ends().await?;
    let stored = oneshot::stored_offsets(ledger, &ends).await?;
    let mut strangers = Vec::new();
    for pending in log.between(&stored, &ends).await? {
        let place = format!("partition {} offset {}", pending.partition, pending.offset);
        match pending.record {
            Some(TopicRecord::Order(order)) => {
                on_their_way.entry(order.reservation_id).or_insert(OnItsWay {
                    sale: (order.product_id, order.sale_id),
                    order_id: order.order_id,
                    quantity: order.quantity,
                    place,
                });
            }
            Some(TopicRecord::SaleOpened(_) | TopicRecord::SaleClosed(_)) => {}
            None => strangers.push(place),
        }
    }
    // The ledger last, and all of it at one moment.
    ledger.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", &[]).await?;
    let gone = in_ledger(ledger, product, &returned, &foreign, &mut accounts).await?;
    let settled = settled(ledger, &on_their_way).await?;
    let mut waiting: Vec<(&Uuid, &OnItsWay)> = on_their_way.iter().filter(|(id, _)| !settled.contains(*id)).collect();
    waiting.sort_by(|a, b| (&a.1.sale, &a.1.place, a.0).cmp(&(&b.1.sale, &b.1.place, b.0)));
    for (reservation, order) in waiting {
        if product.is_some_and(|product| product != order.sale.0) {
            continue;
        }
        let account = accounts.entry(order.sale.clone()).or_insert_with(|| unknown(&order.sale));
        account.reserved += u64::from(order.quantity);
        account.notes.push(format!(
            "order {} ({} units, reservation {reservation}) stands in {} and is not stored",
            order.order_id, order.quantity, order.place
        ));
    }
    for sale in gone {
        if let Some(account) = accounts.get_mut(&sale) {
            account.is_without_redis();
        }
    }
    let mut accounts: Vec<Account> = accounts.into_values().collect();
    for account in accounts.iter_mut().filter(|account| account.state == UNANNOUNCED) {
        account.total = account.sum();
    }
    if let (Some(account), false) = (accounts.first_mut(), strangers.is_empty()) {
        account.notes.extend(strangers.iter().map(|place| format!("what stands in {place} is no record of ours")));
    }
    dead_letters(ledger, product, &mut accounts).await?;
    ledger.execute("COMMIT", &[]).await?;
    Ok(accounts)
}

/// The products asked about: one, or all that Redis or the ledger knows.
async fn products(ledger: &mut Ledger, redis: &mut Redis, product: Option<&str>) -> Result<BTreeSet<String>, Ended> {
    if let Some(product) = product {
        return Ok(BTreeSet::from([product.to_owned()]));
    }
    let mut products = registered(redis).await?;
    for row in ledger.query("SELECT DISTINCT product_id FROM sales", &[]).await? {
        products.extend(row.text(0).map(str::to_owned));
    }
    Ok(products)
}

/// The names in the registry, page by page: however many there are, no answer is too long.
async fn registered(redis: &mut Redis) -> Result<BTreeSet<String>, Ended> {
    let (mut names, mut cursor) = (BTreeSet::new(), "0".to_owned());
    loop {
        let page =
            redis.ask(&[b"SSCAN", redis_keys::REGISTRY.as_bytes(), cursor.as_bytes(), b"COUNT", b"1000"]).await?;
        let mut page = array(page)?.into_iter();
        let (Some(next), Some(listed)) = (page.next(), page.next()) else {
            return Err(RedisError::Unexpected("a page without a cursor").into());
        };
        // Its member `.` keeps it from vanishing, and is no product.
        names.extend(strings(listed)?.into_iter().filter(|name| name != "."));
        cursor = text(next)?;
        if cursor == "0" {
            return Ok(names);
        }
    }
}

/// One product at one moment.
async fn in_redis(redis: &mut Redis, product: &str, replid: Option<&str>) -> Result<InRedis, Ended> {
    let names = ["sale", "stock", "outbox", "returned", "sales"].map(|name| redis_keys::of(product, name));
    let [sale, stock, outbox, returned, sales] = names.each_ref().map(|name| name.as_bytes());
    let mut wire = Vec::new();
    command(&mut wire, &[b"MULTI"]);
    for question in [
        &[b"HGETALL", sale][..],
        &[b"GET", stock],
        &[b"XRANGE", outbox, b"-", b"+"],
        &[b"SMEMBERS", returned],
        &[b"HGETALL", sales],
    ] {
        command(&mut wire, question);
    }
    command(&mut wire, &[b"EXEC"]);
    let answers = redis.ask_many(wire, 7).await?.pop().ok_or(RedisError::Unexpected("no answer to EXEC"))?;
    let mut answers = array(answers)?.into_iter();
    let mut held = InRedis::default();
    let mut next = |name: &str, faults: &mut Vec<String>| match answers.next() {
        Some(OwnedFrame::Error(error)) => {
            faults.push(format!("{} cannot be read: {error}", redis_keys::of(product, name)));
            OwnedFrame::Null
        }
        Some(frame) => frame,
        None => OwnedFrame::Null,
    };
    let faults = &mut held.faults;
    let pairs = |frame| -> Result<BTreeMap<String, String>, RedisError> {
        if frame == OwnedFrame::Null {
            return Ok(BTreeMap::new());
        }
        let flat = strings(frame)?;
        Ok(flat.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
    };
    held.sale = pairs(next("sale", faults))?;
    held.stock = text(next("stock", faults))?.parse().ok();
    if let OwnedFrame::Array(entries) = next("outbox", faults) {
        for entry in entries {
            match OutboxEntry::parse(entry) {
                Ok(entry) => held.entries.push(entry),
                Err(foreign) => faults.push(format!("{}: {foreign}", redis_keys::of(product, "outbox"))),
            }
        }
    }
    if let OwnedFrame::Array(members) = next("returned", faults) {
        held.returned = members.into_iter().map(text).collect::<Result<_, _>>()?;
    }
    for (id, note) in pairs(next("sales", faults))? {
        let note: serde_json::Value = serde_json::from_str(&note).unwrap_or_default();
        if let (Ok(id), Some(total), Some(withdrawn)) = (id.parse(), note["total"].as_u64(), note["withdrawn"].as_u64())
        {
            let generation = note["generation"].as_u64().and_then(|number| u32::try_from(number).ok());
            held.earlier.push((id, total, withdrawn, generation.unwrap_or(0)));
        }
    }
    if held.sale.is_empty() {
        held.faults.push("Redis holds no sale of this product".to_owned());
    } else if held.sale.get("state").is_some_and(|state| state == "suspended")
        || held.sale.get("replid").map(String::as_str) != replid
    {
        held.faults.push("the sale is suspended: its stock is not to be believed before a rebuild".to_owned());
    }
    if held.stock.is_none() {
        held.faults.push(format!("{} is no number", redis_keys::of(product, "stock")));
    }
    Ok(held)
}

/// What Redis says of total, stock and withdrawn units.
fn open_accounts(accounts: &mut BTreeMap<SaleKey, Account>, product: &str, held: &InRedis) {
    for (id, total, withdrawn, generation) in &held.earlier {
        let sale = (product.to_owned(), *id);
        let account = Account {
            generation: *generation,
            total: *total,
            withdrawn: *withdrawn,
            state: "earlier".to_owned(),
            ..unknown(&sale)
        };
        accounts.insert(sale, account);
    }
    let number = |name: &str| held.sale.get(name).and_then(|text| text.parse::<u64>().ok());
    let Some(id) = number("id") else { return };
    let sale = (product.to_owned(), id);
    let account = Account {
        generation: number("gen").and_then(|number| u32::try_from(number).ok()).unwrap_or(0),
        state: held.sale.get("state").cloned().unwrap_or_default(),
        total: number("total").unwrap_or(0),
        available: held.stock.unwrap_or(0),
        withdrawn: number("withdrawn").unwrap_or(0),
        faults: held.faults.clone(),
        ..unknown(&sale)
    };
    accounts.insert(sale, account);
}

fn unknown(sale: &SaleKey) -> Account {
    Account { product: sale.0.clone(), sale_id: sale.1, state: "not in the ledger".to_owned(), ..Account::default() }
}

/// What the ledger says of each sale. Comes back with those that it knows as closed and Redis does not hold.
async fn in_ledger(
    ledger: &mut Ledger,
    product: Option<&str>,
    returned: &BTreeSet<String>,
    foreign: &BTreeSet<SaleKey>,
    accounts: &mut BTreeMap<SaleKey, Account>,
) -> Result<BTreeSet<SaleKey>, Ended> {
    let of_product = [Param::Text(product.unwrap_or_default().to_owned())];
    let latest: BTreeMap<String, u64> = latest(accounts);
    let sums = ledger.query(include_str!("../../sql/statements/audit_sales.sql"), &of_product);
    let rows = told("the ledger is still adding up the orders", sums).await??;
    let is_announced = |row: &Row| row.text(11) == Some("t");
    // By product the sale that both Redis and an event know, and whether Redis is believed.
    let mut known = BTreeMap::new();
    for row in rows.iter().filter(|row| is_announced(row)) {
        let sale: SaleKey = (column(row, 0)?, number(row, 1)?);
        if let Some(account) = accounts.get(&sale).filter(|account| account.state != "earlier") {
            known.insert(sale.0, (sale.1, account.faults.is_empty()));
        }
    }
    let mut gone = BTreeSet::new();
    for row in rows {
        let sale: SaleKey = (column(&row, 0)?, number(&row, 1)?);
        let in_redis = accounts.contains_key(&sale);
        let account = accounts.entry(sale.clone()).or_insert_with(|| unknown(&sale));
        let (total, sold, withdrawn): (u64, u64, u64) = (number(&row, 4)?, number(&row, 5)?, number(&row, 6)?);
        let generation: u32 = number(&row, 2)?;
        if !in_redis {
            account.total = total;
            account.withdrawn = withdrawn;
            account.state = "earlier".to_owned();
            // One before a sale that was opened is nobody's, whatever has befallen Redis since.
            let is_no_sale = known.get(&sale.0).is_some_and(|(id, is_believed)| *is_believed || sale.1 < *id);
            if !is_announced(&row) && is_no_sale {
                // Nobody opened it: stray records in the topic. They are kept, and are nobody's alarm.
                account.state = UNANNOUNCED.to_owned();
                account.notes.push(format!("only orders tell of this sale, with a total of {total}: nobody opened it"));
            } else if row.text(3) == Some("closed") && foreign.iter().any(|other| other.0 == sale.0 && other.1 > sale.1)
            {
                // It was over, and another topic has taken its name: Redis keeps nothing of it, and owes nothing.
                account.notes.push("a sale of another topic has its name in Redis now".to_owned());
            } else if latest.get(&sale.0).is_none_or(|latest| sale.1 > *latest) {
                account.state = "not in Redis".to_owned();
                if row.text(3) == Some("closed") {
                    gone.insert(sale.clone());
                } else {
                    account.faults.push(format!(
                        "Redis does not hold this sale: its stock is lost, and flux-worker rebuild --product {} brings it back",
                        sale.0
                    ));
                }
                if !is_announced(&row) {
                    // No sale of the product is in Redis that an event tells of: it may be stray, and it may be one that was lost.
                    account.state = UNANNOUNCED.to_owned();
                    account.faults.push(format!(
                        "only orders tell of it, with a total of {total}: flux-worker rebuild --product {} says how to go on",
                        sale.0
                    ));
                }
            }
        } else {
            if account.total != total {
                account.faults.push(format!("the ledger has a total of {total}"));
            }
            if account.state == "earlier" && (withdrawn > account.withdrawn || generation > account.generation) {
                // A rebuild has withdrawn what Redis had lost of it, and Redis' note is of the sale's end; or the note is of a
                // Redis that had been given up before the sale was rebuilt on another.
                account.withdrawn = withdrawn;
            } else if account.withdrawn != withdrawn {
                account.notes.push(format!("the ledger has {withdrawn} units withdrawn: its event has not come"));
            }
        }
        account.generation = generation.max(if account.state == "earlier" { 0 } else { account.generation });
        account.stored = number(&row, 7)?;
        account.rejected = number(&row, 8)?;
        account.dead_lettered = number(&row, 9)?;
        account.withdrawn += number::<u64>(&row, 10)?;
        if account.stored != sold {
            account.faults.push(format!("the ledger says {sold} sold and stores orders of {} units", account.stored));
        }
    }
    for row in ledger.query(include_str!("../../sql/statements/audit_returns.sql"), &of_product).await? {
        let (reservation, order): (String, String) = (column(&row, 0)?, column(&row, 1)?);
        let sale: SaleKey = (column(&row, 2)?, number(&row, 3)?);
        let quantity: u64 = number(&row, 5)?;
        // Given back already though the ledger has not noted it yet: then it is in the stock.
        if !returned.contains(&reservation) {
            let account = accounts.entry(sale.clone()).or_insert_with(|| unknown(&sale));
            account.awaiting_return += quantity;
            account
                .notes
                .push(format!("{quantity} units of order {order}'s second reservation {reservation} await return"));
        }
    }
    // Those that a stray record told of, in whatever sale that was.
    for row in ledger.query(include_str!("../../sql/statements/audit_unfounded.sql"), &of_product).await? {
        let sale: SaleKey = (column(&row, 0)?, number(&row, 1)?);
        let (order, reservation): (String, String) = (column(&row, 2)?, column(&row, 3)?);
        let (quantity, state, why): (u64, String, String) = (number(&row, 4)?, column(&row, 5)?, column(&row, 6)?);
        let account = accounts.entry(sale.clone()).or_insert_with(|| unknown(&sale));
        account.notes.push(format!(
            "the return of {quantity} units of order {order}'s reservation {reservation} ended as {state}: {why}"
        ));
    }
    Ok(gone)
}

/// The latest sale of each product in Redis.
fn latest(accounts: &BTreeMap<SaleKey, Account>) -> BTreeMap<String, u64> {
    let current = accounts.values().filter(|account| account.state != "earlier");
    current.map(|account| (account.product.clone(), account.sale_id)).collect()
}

/// Which of these reservations the ledger has settled.
async fn settled(ledger: &mut Ledger, on_their_way: &BTreeMap<Uuid, OnItsWay>) -> Result<BTreeSet<Uuid>, Ended> {
    let mut settled = BTreeSet::new();
    let all: Vec<(&Uuid, &OnItsWay)> = on_their_way.iter().collect();
    for some in all.chunks(10_000) {
        let params = [
            Param::Uuids(some.iter().map(|(reservation, _)| **reservation).collect()),
            Param::Uuids(some.iter().map(|(_, order)| order.order_id).collect()),
        ];
        for row in ledger.query(include_str!("../../sql/statements/audit_settled.sql"), &params).await? {
            settled.extend(row.text(0).and_then(|text| Uuid::parse(text.as_bytes())));
        }
    }
    Ok(settled)
}

async fn dead_letters(ledger: &mut Ledger, product: Option<&str>, accounts: &mut [Account]) -> Result<(), Ended> {
    let of_product = [Param::Text(product.unwrap_or_default().to_owned())];
    for row in ledger.query(include_str!("../../sql/statements/audit_dead_letters.sql"), &of_product).await? {
        let (product, sale): SaleKey = (column(&row, 0)?, number(&row, 1)?);
        let (partition, offset): (i32, i64) = (number(&row, 2)?, number(&row, 3)?);
        let reason = row.text(4).unwrap_or_default();
        if let Some(account) = accounts.iter_mut().find(|account| account.product == product && account.sale_id == sale)
        {
            account.notes.push(format!("partition {partition} offset {offset} is a dead letter: {reason}"));
        }
    }
    Ok(())
}

fn number<T: std::str::FromStr>(row: &Row, at: usize) -> Result<T, LedgerError> {
    row.get(at).ok_or(LedgerError::Unexpected("a value of another type"))
}

fn column(row: &Row, at: usize) -> Result<String, LedgerError> {
    row.text(at).map(str::to_owned).ok_or(LedgerError::Unexpected("a value of another type"))
}
