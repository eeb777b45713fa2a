//! What must hold of every moment, and what must be reached.

use flux_protocol::fence::{Wait, Watch};
use flux_protocol::order::Identifier;
use stateright::{Model, Property};

use crate::scenario::{Begins, Bug, Scenario, UNITS};
use crate::steps::{Step, abandon, is_accepted_as};
use crate::world::{Fate, Order, Rebuild, Stage, World, fence, instant, product, replid};

/// I1: the ledger never has to refuse an order for want of room.
pub const NO_OVERSELLING: &str = "never more units are sold than there are";
/// No 200 ends as rejected.
pub const NO_REJECTION: &str = "no 200 ends as rejected";
/// Promise 14.
pub const NO_WALK_BACK: &str = "no edge sells a generation below one that it obeys";
/// I4: from wherever the run is left, a rebuild ends, everybody sells again, and every unit is sold.
pub const COMES_TO_REST: &str = "a rebuild ends from everywhere, and every unit is sold";
/// An order is answered 200 of what a rebuild has opened, before silent edges are over.
pub const SELLS_AGAIN_SOON: &str = "where all edges live a rebuild ends before the wait, and they sell again";
/// The same behind the wait.
pub const SELLS_AGAIN: &str = "where an edge is silent a rebuild ends, and the others sell again";
/// Something is sold at all.
pub const SELLS: &str = "something is sold";

pub(crate) fn of(scenario: &Scenario) -> Vec<Property<Scenario>> {
    let mut all = vec![
        Property::always(NO_OVERSELLING, |_, world: &World| !world.ledger.has_refused_for_room),
        Property::always(NO_REJECTION, |_, world: &World| {
            let is_rejected = |order: &Order| is_accepted_as(order, Fate::Late) || is_accepted_as(order, Fate::NoRoom);
            !world.edges.iter().flat_map(|edge| &edge.orders).any(is_rejected)
        }),
        Property::always(NO_WALK_BACK, |_, world: &World| !world.has_walked_back),
    ];
    if scenario.rests {
        all.push(Property::always(COMES_TO_REST, comes_to_rest));
    }
    // Where a bug is planted, what is looked for is the harm.
    if scenario.bug.is_some() {
        return all;
    }
    all.push(Property::sometimes(SELLS, |_, world: &World| {
        world.edges.iter().flat_map(|edge| &edge.orders).any(|order| is_accepted_as(order, Fate::Stored))
    }));
    if scenario.rebuilds > 0 {
        all.push(Property::sometimes(SELLS_AGAIN, |scenario: &Scenario, world: &World| {
            sells_again(world) && u128::from(world.now) >= scenario.spans().wait.as_micros()
        }));
    }
    if scenario.rebuilds > 0 && scenario.restarts == 0 && scenario.begins == Begins::Fenced {
        all.push(Property::sometimes(SELLS_AGAIN_SOON, |_, world: &World| sells_again(world) && world.now == 0));
    }
    all
}

/// Whether a unit that was left to a rebuild was answered 200.
fn sells_again(world: &World) -> bool {
    let is_opened = |rebuild: &Rebuild| {
        let redis = &world.redis[usize::from(rebuild.target)];
        rebuild.stage == Stage::Opened && redis.generation == rebuild.generation && redis.is_open && redis.units == 0
    };
    let is_sold = |order: &Order| is_accepted_as(order, Fate::Stored);
    world.rebuilds.iter().any(is_opened) && world.edges.iter().flat_map(|edge| &edge.orders).any(is_sold)
}

/// Nothing goes wrong any more: what travels arrives, all edges are awake, and one more rebuild is run on the latest master.
fn comes_to_rest(scenario: &Scenario, world: &World) -> bool {
    let calm = Scenario { begins: Begins::Fenced, rests: false, ..scenario.clone() };
    let mut world = world.clone();
    let target = u8::from(world.redis[1].is_master);
    let mut steps = Vec::new();
    loop {
        steps.clear();
        calm.actions(&world, &mut steps);
        let arrives = |step: &&Step| {
            matches!(step, Step::Land(..) | Step::Acknowledge(..) | Step::FenceLands(_) | Step::HeartbeatLands(_))
                || matches!(step, Step::GiveUp(..) | Step::Open(_))
        };
        let Some(next) = steps.iter().find(arrives).and_then(|step| calm.next_state(&world, *step)) else { break };
        world = next;
    }
    if !scenario.has(Bug::NeverGivesUp) {
        world.edges.iter_mut().flat_map(|edge| &mut edge.orders).for_each(abandon);
    }
    let generation = (world.ledger.raised.0, world.ledger.raised.1 + 1);
    world.ledger.raised = generation;
    let mut watch = Watch::new(&[fence(generation, target)], scenario.spans());
    world.append(crate::world::Record::Fence { generation, redis: target });
    for _ in 0..2 {
        for at in 0..world.edges.len() {
            world.read_to_the_end(at);
            let record = world.edges[at].heartbeat(world.now);
            record.into_iter().for_each(|record| world.append(record));
        }
    }
    let clock = instant(world.now);
    for placed in &world.log {
        watch.handle_record(i64::from(placed.offset), &placed.record.whole(), clock);
    }
    let all_live = world.next_id as usize == world.edges.len();
    let is_soon = watch.wait(clock) == Wait::Over;
    let is_in_time = watch.wait(clock + scenario.spans().wait) == Wait::Over;
    if (all_live && !is_soon) || !is_in_time || watch.is_superseded(&product()) {
        return false;
    }
    if !is_soon {
        world.now += scenario.spans().wait.as_micros() as u8;
        for at in 0..world.edges.len() {
            let record = world.edges[at].heartbeat(world.now);
            record.into_iter().for_each(|record| world.append(record));
        }
    }
    world.ledger.in_force = generation;
    let left = UNITS - world.ledger.stored;
    for at in 0..world.edges.len() {
        world.read_to_the_end(at);
        let edge = &world.edges[at];
        let clock = instant(world.now);
        let name: Identifier = product();
        let may_sell = edge.member.as_ref().is_some_and(|member| {
            let (sale_id, number) = (u64::from(generation.0), u32::from(generation.1));
            member.may_sell(&name, sale_id, number, &replid(target), clock) == Ok(())
        });
        if !may_sell {
            return false;
        }
    }
    let sold = (0..left).filter(|_| world.judge(generation, false) == Fate::Stored).count();
    sold == usize::from(left) && world.ledger.stored == UNITS && !world.ledger.has_refused_for_room
}
