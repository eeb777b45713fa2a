//! Whether anything is on its way between the servers, and waiting until nothing is.
//!
//! Order matters where the servers are asked one after the other: what has left the outbox stands in the topic, and what
//! stands in the topic is stored once the ledger's position has passed it. So Redis is asked first and the ledger last; what
//! the answers say then is true of everything that was reserved before the first question.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Sources, Truth};
use crate::error::{Doing, LabError};
use crate::servers::{postgres, redis as redis_server};
use crate::topic::TopicReader;

/// How often is looked whether it has come to rest.
const LOOK: Duration = Duration::from_millis(50);

impl Truth {
    /// Reads everything, as of one moment, once nothing is on its way any more. What stands still for `patience` without
    /// having come to rest is read as it stands: what is not where it belongs is for the checker to say.
    ///
    /// # Errors
    /// As [`Truth::read`].
    pub fn at_rest(sources: &Sources, patience: Duration) -> Result<Truth, LabError> {
        let until = Instant::now() + patience;
        loop {
            let truth = Truth::read(sources, patience)?;
            if truth.moves().is_none() || Instant::now() >= until {
                return Ok(truth);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// What was on its way, in words; `None`: it was at rest.
    pub fn moves(&self) -> Option<String> {
        let outbox = self.redis.iter().find(|(_, sale)| !sale.outbox.is_empty());
        // A claim on an entry that is gone holds nothing back: there may be some until the outbox is next walked.
        let outbox = outbox.map(|(product, sale)| format!("{} orders in the outbox of {product}", sale.outbox.len()));
        let pending = self.returns.iter().filter(|units| units.state == "pending").count();
        let pending = (pending > 0).then(|| format!("{pending} returns are pending"));
        outbox.or_else(|| unread(&self.ends, &self.positions)).or(pending)
    }
}

/// The same from the counts alone, for a caller that looks often.
///
/// # Errors
/// Where a server cannot be asked.
pub(crate) fn moves(sources: &Sources) -> Result<Option<String>, LabError> {
    let mut redis = redis_server::connect(&sources.redis)?;
    let products: Vec<String> =
        redis::cmd("SMEMBERS").arg("flux:products").query(&mut redis).doing(|| "reading the registry".to_owned())?;
    // `.` keeps the registry from vanishing, and is no product.
    for product in products.into_iter().filter(|name| name != ".") {
        let outbox = format!("product:{{{product}}}:outbox");
        let entries: u64 = redis::cmd("XLEN").arg(&outbox).query(&mut redis).doing(|| format!("reading {outbox}"))?;
        if entries > 0 {
            return Ok(Some(format!("{outbox} holds {entries} entries")));
        }
    }
    let topic = TopicReader::new(&sources.kafka, &sources.topic);
    let (ends, topic_id) = (topic.ends()?, topic.topic_id()?.to_string());
    let mut ledger = postgres::connect(&sources.postgres)?;
    let sql = "SELECT partition, next_offset FROM offsets WHERE topic_id::text = $1";
    let rows = ledger.query(sql, &[&topic_id]).doing(|| "reading offsets".to_owned())?;
    let positions = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let pending = ledger.query_one("SELECT count(*) FROM returns WHERE state = 'pending'", &[]);
    let pending: i64 = pending.doing(|| "counting returns".to_owned())?.get(0);
    let pending = (pending > 0).then(|| format!("{pending} returns are pending"));
    Ok(unread(&ends, &positions).or(pending))
}

/// Records that the ledger has not come to, in words.
fn unread(ends: &BTreeMap<i32, i64>, positions: &BTreeMap<i32, i64>) -> Option<String> {
    let position = |partition: &i32| positions.get(partition).copied().unwrap_or(0);
    let (partition, end) = ends.iter().find(|(partition, end)| position(partition) < **end)?;
    Some(format!("the ledger stands at {} of partition {partition}, which ends at {end}", position(partition)))
}

#[cfg(test)]
mod tests {
    use flux_protocol::order::Uuid;

    use super::*;
    use crate::truth::{OutboxOrder, RedisSale, ReturnedUnits};

    #[test]
    fn rest_is_an_empty_outbox_a_topic_read_to_its_ends_and_no_return_to_come() {
        let mut truth = Truth::default();
        truth.redis.insert("p".to_owned(), RedisSale::default());
        truth.ends = BTreeMap::from([(0, 0), (1, 7)]);
        truth.positions = BTreeMap::from([(1, 7)]);
        assert_eq!(truth.moves(), None);

        let id = Uuid::version_8([1; 16]);
        let order = OutboxOrder { sale_id: 1, reservation_id: id, order_id: id, quantity: 1 };
        let mut reserved = truth.clone();
        reserved.redis.get_mut("p").expect("put there").outbox.push(order);
        assert!(reserved.moves().is_some_and(|what| what.contains("outbox of p")));

        // A late delivery: nobody waits for it, and yet it will be stored.
        let mut delivered = truth.clone();
        delivered.ends.insert(0, 1);
        assert!(delivered.moves().is_some_and(|what| what.contains("stands at 0 of partition 0")));

        let product = "p".to_owned();
        let units = ReturnedUnits { reservation_id: id, product, sale_id: 1, quantity: 1, state: "pending".to_owned() };
        truth.returns.push(units.clone());
        assert!(truth.moves().is_some_and(|what| what.contains("1 returns")));
        truth.returns = vec![ReturnedUnits { state: "returned".to_owned(), ..units }];
        assert_eq!(truth.moves(), None);
    }
}
