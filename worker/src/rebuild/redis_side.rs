//! Redis' side of a rebuild: the dry write that shows whether it takes any, the fence, and the opening again.

use flux_protocol::redis_keys;

use super::sale::{Account, Found, Sale};
use crate::oneshot::Ended;
use crate::opening::Options;
use crate::redis::Redis;
use crate::scripts::Scripts;

/// What a rebuild asks of Redis.
pub(super) struct Fencing<'a> {
    pub(super) redis: &'a mut Redis,
    pub(super) scripts: &'a Scripts,
    pub(super) product: &'a str,
    pub(super) topic: &'a str,
}

impl Fencing<'_> {
    /// Whether the fence would be taken, as far as that can be known without it. Nothing of the sale is changed.
    pub(super) async fn try_out(&mut self, found: &Found) -> Result<(), Ended> {
        self.ask(found.id, found.next_generation, found.total, &found.options, "dry").await.map(drop)
    }

    /// Binds the sale to this Redis, suspended under its new generation; whether it was closed.
    pub(super) async fn fence(&mut self, sale: &Sale) -> Result<bool, Ended> {
        self.ask(sale.id, sale.generation, sale.total, &sale.options, "").await
    }

    async fn ask(&mut self, id: u64, generation: u32, total: u64, options: &Options, how: &str) -> Result<bool, Ended> {
        let arguments = [
            id.to_string(),
            generation.to_string(),
            total.to_string(),
            options.rate.to_string(),
            options.burst.to_string(),
            options.seed.clone(),
            options.per_user.to_string(),
            options.opens_at.to_string(),
            options.queue.as_str().to_owned(),
            self.topic.to_owned(),
            how.to_owned(),
        ];
        let script = &self.scripts.rebuild_fence;
        let reply = self.redis.call(script, &slices(&redis_keys::all_of(self.product)), &slices(&arguments)).await?;
        match reply.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["OK", was] => Ok(was == "closed"),
            ["OLD", generation] => Err(Ended::Refused(format!(
                "Redis holds a later sale of this product, or generation {generation} by now: somebody else is at it, or \
                 it was restored meanwhile; run again"
            ))),
            ["T", topic] => Err(Ended::Refused(format!("the sale that Redis holds by now is of topic {topic}"))),
            ["S", "role"] => Err(Ended::Refused("this Redis is a replica: point --redis at the master".to_owned())),
            _ => Err(Ended::Refused(format!("rebuild_fence.lua answers {reply:?}"))),
        }
    }

    /// Sets what was proved and lets the sale go on.
    pub(super) async fn restore(&mut self, sale: &Sale, account: &Account) -> Result<(), Ended> {
        let arguments = [
            sale.id.to_string(),
            sale.generation.to_string(),
            account.stock.to_string(),
            if account.is_closed { "closed" } else { "open" }.to_owned(),
            account.withdrawn.to_string(),
        ];
        let script = &self.scripts.rebuild_restore;
        let reply = self.redis.call(script, &slices(&redis_keys::all_of(self.product)), &slices(&arguments)).await?;
        match reply.first().map(String::as_str) {
            Some("OK") => {}
            _ => {
                return Err(Ended::Refused(format!(
                    "Redis has changed since it was fenced off ({}): run again; {} is suspended still",
                    reply.get(1).map_or("no reason", String::as_str),
                    redis_keys::of(self.product, "sale"),
                )));
            }
        }
        self.redis.ask(&[b"SADD", redis_keys::REGISTRY.as_bytes(), self.product.as_bytes()]).await?;
        Ok(())
    }
}

fn slices(texts: &[String]) -> Vec<&[u8]> {
    texts.iter().map(|text| text.as_bytes()).collect()
}
