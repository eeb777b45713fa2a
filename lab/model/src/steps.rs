//! What each step does: those of each process, each alone, and those of the adversary.
//!
//! Nobody has to go on. So a pause of any process at any step, a lost message and a crash are all the same: that its next step
//! comes later, or never. Two steps of which one can come long behind the other are one only where it is said why that loses
//! nothing.

use std::sync::Arc;

use flux_protocol::fence::{Member, Refusal, Watch};
use stateright::{Model, Property};

use crate::properties;
use crate::scenario::{Begins, Bug, Scenario, UNITS};
use crate::world::{Fate, Opening, Order, Rebuild, Record, Redis, Stage, World, fence, instant, uuid};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Time passes.
    Tick,
    /// The first Redis is gone for good.
    Die,
    /// The fences' topic is compacted.
    Compact,

    /// An edge hands its producer a heartbeat.
    Heartbeat(usize),
    /// It comes into the log.
    HeartbeatLands(usize),
    /// Only where it is a bug: a leader without followers takes it, and shows it to its edge.
    HeartbeatLandsAside(usize),
    /// An edge reads what stands below this offset: a fetch that was answered late brings less than there is.
    Read(usize, u8),
    /// An edge dies, and another process in its place has read nothing yet.
    Restart(usize),

    /// An edge asks whether it may sell from this Redis.
    Ask(usize, usize, u8),
    /// The call reaches its Redis.
    Reserve(usize, usize),
    /// The record reaches the orders' log.
    Land(usize, usize),
    /// The acknowledgement reaches the edge.
    Acknowledge(usize, usize),
    /// An edge that is to be drained gives an order up. What travels travels on.
    GiveUp(usize, usize),

    /// A rebuild of the sale on this Redis raises its number and sends its fence.
    Begin(usize, u8),
    /// The fence comes into the log, and is read back.
    FenceLands(usize),
    /// The wait is over: the sale is fenced off in Redis, the orders' log drained, the generation in force.
    Settle(usize),
    /// The stock is set.
    Open(usize),

    /// Others say that the first edge is gone.
    Bury,
    /// That comes into the log.
    BuryLands,

    /// An edge with an `/init` asks whether it may open the sale on this Redis.
    AskToOpen(usize, u8),
    /// The call reaches Redis.
    OpenInRedis(usize),
    /// The fence comes into the log.
    OpeningLands(usize),
}

impl Scenario {
    fn read(&self, world: &mut World, at: usize, end: u8) {
        let edge = &world.edges[at];
        let (read, id, now) = (edge.read, edge.id, world.now);
        for placed in world.log.iter().filter(|placed| (read..end).contains(&placed.offset)) {
            let edge = &mut world.edges[at];
            match placed.record {
                Record::Heartbeat { edge: from, .. } if from == id && self.has(Bug::CurrencyFromArrival) => {
                    edge.arrived = Some(now);
                }
                Record::Fence { generation, redis } if self.has(Bug::AnyOtherFenceObeyed) => {
                    edge.believed = Some((generation, redis));
                }
                Record::Fence { generation, redis }
                    if self.has(Bug::EqualFenceReplaces)
                        && edge.believed.is_none_or(|(held, _)| held <= generation) =>
                {
                    edge.believed = Some((generation, redis));
                }
                _ => {}
            }
        }
        world.read_to(at, end);
    }

    fn compact(&self, world: &mut World) {
        let keys: Vec<_> = world.log.iter().map(|placed| self.key_of(&placed.record)).collect();
        let mut at = 0;
        world.log.retain(|_| {
            at += 1;
            !keys[at..].contains(&keys[at - 1])
        });
    }

    fn begin(&self, world: &mut World, at: usize, target: u8) {
        let ledger = &mut world.ledger;
        ledger.raised.1 += 1;
        let generation = ledger.raised;
        let mut watch = Watch::new(&[fence(generation, target)], self.spans());
        if !ledger.is_fenced && !self.has(Bug::UnfencedHurried) {
            watch.expect_nameless();
        }
        for placed in &world.log {
            watch.handle_record(i64::from(placed.offset), &placed.record.whole(), instant(world.now));
        }
        let sending = if self.has(Bug::FenceAfterOpening) { 0 } else { 1 + u8::from(self.compacts && at == 0) };
        let (stage, watch) = (Stage::Fencing, Some(Arc::new(watch)));
        world.rebuilds[at] = Rebuild { stage, target, generation, watch, began: world.now, sending };
        // Alone it may as well have begun when its fence comes into the log.
        if self.rebuilds == 1 && sending == 1 && !self.has(Bug::WaitFromSending) {
            self.fence_lands(world, at);
        }
    }

    fn fence_lands(&self, world: &mut World, at: usize) {
        let rebuild = &mut world.rebuilds[at];
        rebuild.sending -= 1;
        let (generation, redis) = (rebuild.generation, rebuild.target);
        world.append(Record::Fence { generation, redis });
    }

    fn settle(&self, world: &mut World, at: usize) {
        let rebuild = &mut world.rebuilds[at];
        let (generation, target) = (rebuild.generation, rebuild.target);
        let redis = &mut world.redis[usize::from(target)];
        // That the log has a higher fence it may have seen too early to know.
        if redis.generation >= generation {
            rebuild.stage = Stage::Superseded;
            return;
        }
        let is_fenced = true;
        *redis = Redis { generation, bound: target, is_open: false, is_fenced, units: 0, ..*redis };
        let ledger = &mut world.ledger;
        if generation > ledger.in_force {
            (ledger.in_force, ledger.is_fenced) = (generation, true);
        }
        rebuild.stage = Stage::Settled(UNITS - ledger.stored);
    }

    fn open(&self, world: &mut World, at: usize, units: u8) {
        let rebuild = &mut world.rebuilds[at];
        let redis = &mut world.redis[usize::from(rebuild.target)];
        if redis.generation != rebuild.generation || redis.is_open {
            rebuild.stage = Stage::Superseded;
            return;
        }
        (redis.is_open, redis.units) = (true, units);
        rebuild.stage = Stage::Opened;
        if self.has(Bug::FenceAfterOpening) {
            rebuild.sending = 1;
        }
    }
}

impl Model for Scenario {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let mut world = World::new(self);
        for at in 0..world.edges.len() {
            let edge = &mut world.edges[at];
            if self.has(Bug::AnyOtherFenceObeyed) || self.has(Bug::EqualFenceReplaces) {
                edge.believed = (self.begins == Begins::Fenced).then_some(((1, 1), 0));
            }
            if self.has(Bug::CurrencyFromArrival) {
                edge.arrived = Some(0);
            }
        }
        vec![world]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        self.possible(world, steps);
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        let now = world.now;
        match step {
            Step::Tick => {
                world.now += 1;
                let spans = self.spans();
                for order in world.edges.iter_mut().flat_map(|edge| &mut edge.orders) {
                    if let Order::Taken { at, .. } = order
                        && !spans.may_answer(instant(*at), instant(world.now))
                    {
                        // How much too old it is makes no difference.
                        *at = 0;
                    }
                }
            }
            Step::Die => world.redis[0].is_dead = true,
            Step::Compact => {
                let length = world.log.len();
                self.compact(&mut world);
                world.compactions -= 1;
                if world.log.len() == length {
                    return None;
                }
            }
            Step::Heartbeat(at) => {
                let edge = &mut world.edges[at];
                edge.heartbeats -= 1;
                edge.sending = edge.heartbeat(now);
            }
            Step::HeartbeatLands(at) => {
                let edge = &mut world.edges[at];
                let record = edge.sending.take()?;
                edge.heard = now;
                world.append(record);
            }
            Step::HeartbeatLandsAside(at) => {
                let edge = &mut world.edges[at];
                let record = edge.sending.take()?;
                let offset = i64::from(edge.read);
                Arc::make_mut(edge.member.as_mut()?).handle_record(offset, &record.whole());
            }
            Step::Read(at, end) => self.read(&mut world, at, end),
            Step::Restart(at) => {
                let id = world.next_id;
                world.next_id += 1;
                let edge = &mut world.edges[at];
                edge.restarts -= 1;
                edge.member = Some(Arc::new(Member::new(uuid(id), self.spans())));
                (edge.id, edge.read, edge.sending) = (id, 0, None);
                (edge.arrived, edge.believed) = (None, None);
                edge.heartbeats = self.heartbeats[at];
                edge.orders.iter_mut().for_each(abandon);
            }
            Step::Ask(at, number, redis) => {
                let generation = world.redis[usize::from(redis)].generation;
                let edge = &mut world.edges[at];
                edge.orders[number] = Order::Asked { redis, generation, at: now };
                world.has_walked_back |= world.edges[at].permits(generation, redis) == Err(Refusal::Behind);
                if !self.splits {
                    return self.next_state(&world, Step::Reserve(at, number));
                }
            }
            Step::Reserve(at, number) => {
                let Order::Asked { redis, generation, at: asked } = world.edges[at].orders[number] else { return None };
                world.redis[usize::from(redis)].units -= 1;
                world.edges[at].orders[number] = Order::Taken { generation, at: asked };
            }
            Step::Land(at, number) => {
                let (generation, asked) = match world.edges[at].orders[number] {
                    Order::Taken { generation, at } => (generation, Some(at)),
                    Order::Stray { generation } => (generation, None),
                    _ => return None,
                };
                let fate = world.judge(generation, self.has(Bug::LateRecordsStored));
                world.edges[at].orders[number] = match asked {
                    Some(asked) => Order::Logged { at: asked, fate },
                    None => Order::Ended,
                };
                if let (false, Some(asked)) = (self.splits, asked) {
                    let is_answered = self.is_answered(&world, at, asked);
                    world.edges[at].orders[number] = if is_answered { Order::Accepted(fate) } else { Order::Ended };
                }
            }
            Step::Acknowledge(at, number) => {
                let Order::Logged { fate, .. } = world.edges[at].orders[number] else { return None };
                let edge = &mut world.edges[at];
                edge.orders[number] = Order::Accepted(fate);
            }
            Step::GiveUp(at, number) => abandon(&mut world.edges[at].orders[number]),
            Step::Begin(at, target) => self.begin(&mut world, at, target),
            Step::FenceLands(at) => self.fence_lands(&mut world, at),
            Step::Settle(at) => {
                self.settle(&mut world, at);
                // Alone nobody comes between, but records that are late by now as they are afterwards.
                if let (1, Stage::Settled(units)) = (self.rebuilds, world.rebuilds[at].stage) {
                    self.open(&mut world, at, units);
                }
            }
            Step::Open(at) => {
                let Stage::Settled(units) = world.rebuilds[at].stage else { return None };
                self.open(&mut world, at, units);
            }
            Step::Bury => {
                world.burials -= 1;
                let edge = world.edges[0].id;
                let said = world.log.iter().filter_map(|placed| match placed.record {
                    Record::Heartbeat { edge: from, beat, .. } if from == edge => Some(beat),
                    _ => None,
                });
                world.burying = Some(Record::Gone { edge, beat: said.max()? });
            }
            Step::BuryLands => {
                let record = world.burying.take()?;
                world.append(record);
            }
            Step::AskToOpen(at, redis) => world.edges[at].opening = Opening::Asked(redis),
            Step::OpenInRedis(at) => {
                let Opening::Asked(target) = world.edges[at].opening else { return None };
                let redis = &mut world.redis[usize::from(target)];
                let (generation, is_open, is_fenced) = ((1, 1), true, true);
                *redis = Redis { generation, bound: target, is_open, is_fenced, units: UNITS, ..*redis };
                world.edges[at].opening = Opening::Opened(target);
            }
            Step::OpeningLands(at) => {
                let opening = &mut world.edges[at].opening;
                let (Opening::Opened(redis) | Opening::Fenced(redis)) = *opening else { return None };
                let is_first = *opening == Opening::Opened(redis);
                *opening = if is_first { Opening::Fenced(redis) } else { Opening::FencedTwice };
                world.append(Record::Fence { generation: (1, 1), redis });
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Scenario>> {
        properties::of(self)
    }
}

/// Its edge is gone, or has waited for long enough: nobody will answer 200, and what travels travels on.
pub(crate) fn abandon(order: &mut Order) {
    *order = match *order {
        Order::Taken { generation, .. } => Order::Stray { generation },
        Order::Asked { .. } | Order::Logged { .. } => Order::Ended,
        other => other,
    };
}

/// Whether an order was answered 200, and came to this.
pub(crate) fn is_accepted_as(order: &Order, fate: Fate) -> bool {
    *order == Order::Accepted(fate)
}
