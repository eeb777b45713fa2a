//! What Redis says of itself and of a sale. Nothing is changed by asking.

use flux_protocol::redis_keys;
use flux_protocol::resp::{ErrorKind, OwnedFrame, command};

use crate::config::RebuildOrder;
use crate::oneshot::Ended;
use crate::opening::{Opening, Queue};
use crate::redis::{Redis, RedisError, info_field, strings, text};

/// What Redis says of itself (`INFO server`, `INFO replication`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub run_id: String,
    /// Its history: another one after a restart, a promotion, a demotion.
    pub replid: String,
    /// Not a replica.
    pub is_master: bool,
    /// A replica is attached now; assumed where Redis does not say.
    pub has_replica: bool,
    /// A node of a Redis Cluster.
    pub is_cluster: bool,
    /// It has never had a replica nor been one, as far as it knows: it keeps no backlog for one, and no second history.
    pub stands_alone: bool,
}

impl Server {
    /// Asks.
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn ask(redis: &mut Redis) -> Result<Server, RedisError> {
        let server = text(redis.ask(&[b"INFO", b"server"]).await?)?;
        let replication = text(redis.ask(&[b"INFO", b"replication"]).await?)?;
        let field = |of: &str, name: &str| info_field(of, name).unwrap_or_default().to_owned();
        Ok(Server {
            run_id: field(&server, "run_id"),
            replid: field(&replication, "master_replid"),
            is_master: field(&replication, "role") == "master",
            has_replica: field(&replication, "connected_slaves") != "0",
            is_cluster: field(&server, "redis_mode") == "cluster",
            stands_alone: field(&replication, "repl_backlog_active") == "0"
                && field(&replication, "master_replid2") == "0".repeat(40),
        })
    }
}

/// What Redis holds of a sale, believed only where the ledger cannot know better. All empty: there is no sale, or not one
/// that can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaleView {
    pub id: Option<u64>,
    pub generation: Option<u32>,
    /// Units in all.
    pub total: Option<u64>,
    pub opening: Opening,
    /// The process it was bound to.
    pub run_id: Option<String>,
    /// The history it was bound to.
    pub replid: Option<String>,
    /// An edge saw a replica of the Redis it was bound to.
    pub had_replica: bool,
    /// A rebuild has fenced it off and has not come to its end.
    pub is_rebuilding: bool,
    /// The topic of its orders; `None`: it was opened before sales noted that.
    pub topic: Option<String>,
}

impl SaleView {
    /// Asks.
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn ask(redis: &mut Redis, product: &str) -> Result<SaleView, RedisError> {
        let mut wire = Vec::new();
        SaleView::question(&mut wire, product);
        match redis.ask_many(wire, 1).await {
            Ok(mut answers) => SaleView::read(answers.pop().ok_or(RedisError::Unexpected("no answer"))?),
            // Of another type: as good as lost.
            Err(RedisError::Server { kind: ErrorKind::WrongType, .. }) => Ok(SaleView::default()),
            Err(error) => Err(error),
        }
    }

    /// Asks about several products with one write.
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn ask_page(redis: &mut Redis, products: &[&str]) -> Result<Vec<SaleView>, RedisError> {
        let mut wire = Vec::new();
        products.iter().for_each(|product| SaleView::question(&mut wire, product));
        match redis.ask_many(wire, products.len()).await {
            Ok(answers) => answers.into_iter().map(SaleView::read).collect(),
            // One of them is of another type; asked about one by one, each tells for itself.
            Err(RedisError::Server { kind: ErrorKind::WrongType, .. }) => {
                let mut all = Vec::with_capacity(products.len());
                for product in products {
                    all.push(SaleView::ask(redis, product).await?);
                }
                Ok(all)
            }
            Err(error) => Err(error),
        }
    }

    fn question(wire: &mut Vec<u8>, product: &str) {
        let sale_key = redis_keys::of(product, "sale");
        let fields = [
            "id",
            "gen",
            "total",
            "rate",
            "burst",
            "seed",
            "run_id",
            "replid",
            "replica",
            "rebuilding",
            "per_user",
            "opens_at",
            "queue",
            "topic",
        ];
        let mut question: Vec<&[u8]> = vec![b"HMGET", sale_key.as_bytes()];
        question.extend(fields.map(str::as_bytes));
        command(wire, &question);
    }

    fn read(answer: OwnedFrame) -> Result<SaleView, RedisError> {
        let values = strings(answer)?;
        let value = |at: usize| values.get(at).map_or("", String::as_str);
        let text = |at: usize| Some(value(at).to_owned()).filter(|text| !text.is_empty());
        Ok(SaleView {
            id: value(0).parse().ok(),
            generation: value(1).parse().ok(),
            total: value(2).parse().ok(),
            opening: Opening {
                rate: value(3).parse().ok(),
                burst: value(4).parse().ok(),
                seed: text(5),
                per_user: value(10).parse().ok(),
                opens_at: value(11).parse().ok(),
                queue: Queue::parse(value(12)),
            },
            run_id: text(6),
            replid: text(7),
            had_replica: !matches!(value(8), "" | "0"),
            is_rebuilding: value(9) == "1",
            topic: text(13),
        })
    }

    /// The topic that the sale's orders belong into, where that is another than `own`: then it is another worker's.
    pub fn other_topic(&self, own: &str) -> Option<&str> {
        self.topic.as_deref().filter(|noted| *noted != own)
    }

    /// Whether the Redis that is there is the one that sold the sale, as far as can be known: it has the sale still, and stands alone.
    /// Then no other sells it, and whatever an older generation brings from now on was lost, and is nobody's. A Redis that knows nothing
    /// of the sale may be another one.
    pub(super) fn is_the_sellers(&self, server: &Server, order: &RebuildOrder) -> bool {
        let is_said = order.old_master_is_dead || order.slot_moved;
        let has_sale = self.id.is_some() && self.replid.is_some();
        has_sale && server.stands_alone && !server.is_cluster && !server.has_replica && !self.had_replica && !is_said
    }

    /// Whether it is safe to go on, as far as it can be known without the operator: where a master was replaced, the
    /// old one may still be selling.
    pub(super) fn permits(&self, server: &Server, order: &RebuildOrder) -> Result<(), Ended> {
        if !server.is_master {
            return Err(Ended::Refused("this Redis is a replica: point --redis at the master".to_owned()));
        }
        // Another process than the one it was bound to serves a cluster's slot.
        let moved = server.is_cluster && self.run_id.as_ref().is_some_and(|bound| *bound != server.run_id);
        if moved && !order.slot_moved && !order.old_master_is_dead {
            return Err(Ended::Refused(
                "another node of the cluster serves this sale than the one that opened it: say --slot-moved where the slot \
                 was moved on purpose, --old-master-is-dead where that node is gone for good"
                    .to_owned(),
            ));
        }
        if (self.had_replica || server.has_replica) && !order.old_master_is_dead && !order.slot_moved {
            return Err(Ended::Refused(
                "this sale's Redis had a replica: make sure that no edge still reaches an old master, then say \
                 --old-master-is-dead"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}
