//! Which steps may come next.
//!
//! Left out are only those whose runs others stand for; why, is said where each is.

use flux_protocol::fence::Refusal;

use crate::scenario::{Begins, Bug, Scenario};
use crate::steps::Step;
use crate::world::{Opening, Order, Placed, Record, Stage, World, instant};

impl Scenario {
    pub(crate) fn possible(&self, world: &World, steps: &mut Vec<Step>) {
        if world.now < self.ends {
            steps.push(Step::Tick);
        }
        if self.begins == Begins::Unfenced && !world.redis[0].is_dead {
            steps.push(Step::Die);
        }
        if world.compactions > 0 && world.edges.iter().any(|edge| edge.restarts > 0) {
            steps.push(Step::Compact);
        }
        for at in 0..world.edges.len() {
            self.edge_steps(world, at, steps);
            self.order_steps(world, at, steps);
        }
        for at in 0..world.rebuilds.len() {
            self.rebuild_steps(world, at, steps);
        }
        if world.burials > 0 && world.now - world.edges[0].heard >= self.silence() {
            steps.push(Step::Bury);
        }
        if world.burying.is_some() {
            steps.push(Step::BuryLands);
        }
    }

    fn order_steps(&self, world: &World, at: usize, steps: &mut Vec<Step>) {
        let edge = &world.edges[at];
        for (number, order) in edge.orders.iter().enumerate() {
            match *order {
                Order::Unused => {
                    // Which of an edge's orders, and which edge, is the first is of no matter.
                    let is_next = number == 0 || edge.orders[number - 1] != Order::Unused;
                    let is_first_elsewhere = at == 0
                        || self.old_edges > 0
                        || self.restarts > 0
                        || self.buries
                        || world.edges[at - 1].orders.first() != Some(&Order::Unused);
                    // Where rebuilds are looked at it is those who start anew that sell.
                    let is_new = self.rebuilds == 0 || edge.restarts == 0;
                    if is_next && is_first_elsewhere && is_new {
                        let sells = |redis: &u8| {
                            let shown = &world.redis[usize::from(*redis)];
                            (shown.units > 0 || self.splits)
                                && self.is_believed(shown, *redis, shown.generation)
                                && self.may_sell(world, at, shown.generation, *redis)
                        };
                        steps.extend((0..2).filter(sells).map(|redis| Step::Ask(at, number, redis)));
                    }
                }
                Order::Asked { redis, generation, .. } => {
                    let shown = &world.redis[usize::from(redis)];
                    if shown.units > 0 && self.is_believed(shown, redis, generation) {
                        steps.push(Step::Reserve(at, number));
                    }
                    if !edge.is_drained() && !self.has(Bug::NeverGivesUp) {
                        steps.push(Step::GiveUp(at, number));
                    }
                }
                Order::Taken { at: asked, .. } => {
                    // The version before the fence looks at an order's age when it publishes it; no pause behind that look here.
                    let is_young = self.spans().may_answer(instant(asked), instant(world.now));
                    if edge.member.is_some() || is_young {
                        steps.push(Step::Land(at, number));
                    }
                    if edge.member.is_some() && !edge.is_drained() {
                        steps.push(Step::GiveUp(at, number));
                    }
                }
                Order::Stray { .. } => steps.push(Step::Land(at, number)),
                Order::Logged { at: asked, .. } => {
                    // Later than that it changes nothing.
                    if self.is_answered(world, at, asked) {
                        steps.push(Step::Acknowledge(at, number));
                    }
                }
                Order::Accepted(_) | Order::Ended => {}
            }
        }
    }

    fn edge_steps(&self, world: &World, at: usize, steps: &mut Vec<Step>) {
        let edge = &world.edges[at];
        let own = |placed: &&Placed| {
            placed.offset >= edge.read
                && matches!(placed.record, Record::Heartbeat { edge: from, .. } if from == edge.id)
        };
        if edge.member.is_some() {
            if edge.heartbeats > 0 {
                steps.push(Step::Heartbeat(at));
            }
            if edge.sending.is_some() {
                steps.push(Step::HeartbeatLands(at));
                if self.has(Bug::HeartbeatAcksOne) {
                    steps.push(Step::HeartbeatLandsAside(at));
                }
            }
            let through_own = world.log.iter().find(own).map(|placed| placed.offset + 1);
            steps.extend(through_own.filter(|end| *end < world.log_end).map(|end| Step::Read(at, end)));
            if edge.read < world.log_end {
                steps.push(Step::Read(at, world.log_end));
            }
            if edge.restarts > 0 {
                steps.push(Step::Restart(at));
            }
        }
        match edge.opening {
            Opening::Unused if self.opens => {
                let may_open = |redis: &u8| {
                    let is_free = world.redis[usize::from(*redis)].generation == (0, 0);
                    let is_known = edge.permits((1, 1), *redis) != Err(Refusal::NoFence);
                    is_free && !is_known && self.is_current(world, at)
                };
                steps.extend((0..2).filter(may_open).map(|redis| Step::AskToOpen(at, redis)));
            }
            Opening::Asked(redis) if world.redis[usize::from(redis)].generation == (0, 0) => {
                steps.push(Step::OpenInRedis(at));
            }
            Opening::Opened(_) => steps.push(Step::OpeningLands(at)),
            Opening::Fenced(_) if self.has(Bug::OpeningFencedTwice) => steps.push(Step::OpeningLands(at)),
            _ => {}
        }
    }

    fn rebuild_steps(&self, world: &World, at: usize, steps: &mut Vec<Step>) {
        let rebuild = &world.rebuilds[at];
        if rebuild.sending > 0 {
            steps.push(Step::FenceLands(at));
        }
        match rebuild.stage {
            // The second begins behind the first: which is which is of no matter.
            Stage::Idle if at == 0 || world.rebuilds[at - 1].stage != Stage::Idle => {
                // Begun later, the first finds edges that are current for less long: what they can do then they can do here.
                let is_time = at > 0 || world.now == 0 || self.buries || self.begins == Begins::Unfenced;
                let is_its_own = |target: &u8| self.restarts == 0 || usize::from(*target) == at;
                let may_begin = |target: &u8| {
                    if !is_its_own(target) {
                        return false;
                    }
                    let (target, other) = (usize::from(*target), usize::from(1 - *target));
                    let is_safe =
                        world.ledger.is_fenced || world.redis[other].is_dead || self.has(Bug::UnfencedTrusted);
                    is_time && is_safe && world.redis[target].is_master && !world.redis[target].is_dead
                };
                steps.extend((0..2).filter(may_begin).map(|target| Step::Begin(at, target)));
            }
            Stage::Fencing if self.is_over(world, rebuild) && !world.redis[usize::from(rebuild.target)].is_dead => {
                steps.push(Step::Settle(at));
            }
            Stage::Settled(_) => steps.push(Step::Open(at)),
            _ => {}
        }
    }
}
