//! The rules of the protocol, each as its party looks at it: those of the machines that ship, but where a bug is planted.

use flux_protocol::fence::{Refusal, Wait};

use crate::scenario::{Begins, Bug, Scenario};
use crate::world::{Generation, Placed, Rebuild, Record, Redis, World, instant};

impl Scenario {
    /// Whether the edge takes what it has read for up to date.
    pub(crate) fn is_current(&self, world: &World, at: usize) -> bool {
        let edge = &world.edges[at];
        match (&edge.member, edge.arrived) {
            (Some(_), Some(arrived)) => u128::from(world.now - arrived) < self.spans().currency.as_micros(),
            (Some(member), None) => member.is_current(instant(world.now)),
            (None, _) => true,
        }
    }

    /// Whether the edge may sell this generation from this Redis.
    pub(crate) fn may_sell(&self, world: &World, at: usize, generation: Generation, redis: u8) -> bool {
        let edge = &world.edges[at];
        let is_fenced = world.redis[usize::from(redis)].is_fenced;
        if edge.member.is_none() {
            return !is_fenced || self.has(Bug::OldVersionsSellFenced);
        }
        let refused = edge.permits(generation, redis);
        if !is_fenced && self.begins == Begins::Unfenced {
            return refused != Err(Refusal::Behind);
        }
        let permitted = match (edge.believed, refused) {
            (Some(believed), _) => believed == (generation, redis),
            (None, Err(Refusal::NoFence)) => self.has(Bug::AbsenceSells),
            // The script's own look goes with this one: the edge tells it which history to expect.
            (None, Err(Refusal::OtherRedis)) => self.has(Bug::ScriptIgnoresReplid),
            (None, refused) => refused.is_ok(),
        };
        permitted && self.is_current(world, at)
    }

    /// Whether Redis' script takes a reservation, or an opening, for this generation.
    pub(crate) fn is_believed(&self, redis: &Redis, at: u8, generation: Generation) -> bool {
        let is_bound = redis.bound == at || self.has(Bug::ScriptIgnoresReplid);
        redis.is_master && !redis.is_dead && redis.is_open && is_bound && redis.generation == generation
    }

    /// Whether an acknowledgement that comes now is answered with a 200.
    pub(crate) fn is_answered(&self, world: &World, at: usize, asked: u8) -> bool {
        self.spans().may_answer(instant(asked), instant(world.now))
            || world.edges[at].member.is_none()
            || self.has(Bug::AnswersHoweverLate)
    }

    /// Whether the wait of a rebuild is over.
    pub(crate) fn is_over(&self, world: &World, rebuild: &Rebuild) -> bool {
        let Some(watch) = &rebuild.watch else { return false };
        let since_it_began = u128::from(world.now - rebuild.began) >= self.spans().wait.as_micros();
        if self.has(Bug::FenceAfterOpening) {
            return since_it_began;
        }
        let waited = watch.wait(instant(world.now));
        if self.has(Bug::WaitFromSending) && waited != Wait::NotFenced && since_it_began {
            return true;
        }
        if self.has(Bug::NoDrain) && waited != Wait::NotFenced && Scenario::all_obey(world, rebuild) {
            return true;
        }
        if self.has(Bug::GoneWhateverItSaid) && waited != Wait::NotFenced {
            let is_gone = |edge| {
                world.log.iter().any(|placed| matches!(placed.record, Record::Gone { edge: gone, .. } if gone == edge))
            };
            return waited == Wait::Over || watch.awaited().all(|edge| is_gone(edge.0[0]));
        }
        waited == Wait::Over
    }

    /// Whether the last heartbeat of every edge says that it has read the rebuild's fence.
    fn all_obey(world: &World, rebuild: &Rebuild) -> bool {
        let own = |placed: &&Placed| matches!(placed.record, Record::Fence { generation, .. } if generation == rebuild.generation);
        let Some(placed) = world.log.iter().find(own) else { return false };
        world.edges.iter().all(|edge| {
            let said = world.log.iter().filter_map(|placed| match placed.record {
                Record::Heartbeat { edge: from, obeyed, .. } if from == edge.id => Some(obeyed),
                _ => None,
            });
            said.max().is_some_and(|obeyed| obeyed > placed.offset)
        })
    }

    /// What compaction keeps the last record of.
    pub(crate) fn key_of(&self, record: &Record) -> (u8, Generation, u8) {
        match *record {
            Record::Fence { .. } if self.has(Bug::KeyedByProduct) => (0, (0, 0), 0),
            Record::Fence { generation, .. } if self.has(Bug::KeyWithoutReplid) => (0, generation, 0),
            Record::Fence { generation, redis } => (0, generation, redis),
            Record::Heartbeat { edge, .. } | Record::Gone { edge, .. } => (1, (0, 0), edge),
        }
    }
}
