//! What a run consists of: drawn from its seed before anything happens, so that a seed names all of it.

use std::sync::Arc;
use std::time::Duration;

use flux_lab::crowd::Order;
use flux_protocol::rare::Rare;

use super::faults::{Fault, draw};
use crate::crowd::{Buyer, Habit, Look, Looker};
use crate::random::Random;

/// How long the programs have to come up before the sales are opened.
pub const START: Duration = Duration::from_secs(3);
/// By when the crowd has come and every fault has begun.
pub const UNREST: Duration = Duration::from_secs(15);
/// Longest that a fault lasts.
pub const FAULT_MAX: Duration = Duration::from_secs(12);

/// No record with such a life runs out during a run.
const LONG_TTL: Duration = Duration::from_secs(3600);

/// A fault and its time, counted from the opening of the sales.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts, where it does.
    pub lasts: Duration,
    /// What it is.
    pub fault: Fault,
}

/// Bounds that the programs are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// `--redis-deadline` of edges.
    pub redis_deadline: Duration,
    /// `--publish-deadline`.
    pub publish_deadline: Duration,
    /// `--outbox-orders-max`.
    pub outbox_orders_max: u64,
    /// `--batch-orders` of workers.
    pub batch_orders: u64,
    /// `--batch-wait`.
    pub batch_wait: Duration,
}

impl Default for Bounds {
    /// The programs' own defaults.
    fn default() -> Bounds {
        Bounds {
            redis_deadline: Duration::from_millis(500),
            publish_deadline: Duration::from_secs(2),
            outbox_orders_max: 100_000,
            batch_orders: 5000,
            batch_wait: Duration::from_millis(20),
        }
    }
}

/// A sale to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    /// Of what.
    pub product: String,
    /// Units.
    pub quantity: u64,
    /// Orders a second; 0: no limit.
    pub rate: u64,
    /// Orders at once on top of that.
    pub burst: u64,
    /// Units that one user may take; 0: no limit.
    pub per_user: u16,
    /// When it opens, counted from the first moment of the world; zero: from the start.
    pub opens_after: Duration,
    /// Its crowd waits in a fair queue.
    pub is_fair: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Cores of each edge.
    pub edges: Vec<usize>,
    /// Workers of one group.
    pub workers: usize,
    /// Brokers.
    pub nodes: usize,
    /// Partitions of the topic.
    pub partitions: usize,
    /// What is sold.
    pub sales: Vec<Sale>,
    /// Who comes.
    pub buyers: Vec<Buyer>,
    /// Who only looks.
    pub lookers: Vec<Looker>,
    /// What goes wrong.
    pub faults: Vec<Planned>,
    /// Workers rebuild by themselves what they may.
    pub rebuilds_by_itself: bool,
    /// The operator rebuilds what is suspended as soon as they see it, whatever else goes wrong still.
    pub rebuilds_at_once: bool,
    /// Life of an idempotency record; short ones run out during a run.
    pub idempotency_ttl: Duration,
    /// How long the operator lets all of this go on before they mend it.
    pub unrest: Duration,
    /// What the programs are told.
    pub bounds: Bounds,
    /// Seldom branches that are taken often.
    pub rares: Vec<Rare>,
}

impl Sale {
    /// One of the same product behind another, with options of its own.
    pub fn follows(random: &mut Random, before: &Sale) -> Sale {
        let is_fair = random.per_mille(400);
        let rate = if is_fair || random.per_mille(400) { 3 + random.below(40) } else { 0 };
        Sale {
            product: before.product.clone(),
            quantity: 5 + random.below(60),
            rate,
            burst: if is_fair { 2 + random.below(10) } else { 50 },
            per_user: if random.per_mille(300) { 1 + random.below(4) as u16 } else { 0 },
            opens_after: Duration::ZERO,
            is_fair,
        }
    }
}

impl Shape {
    /// Everything that follows from the seed: of four runs three draw which features and faults there are at all (`swarm`), the
    /// fourth has some of everything, in usual amounts.
    pub fn draw(random: &mut Random) -> Shape {
        let mut swarm = random.clone().fork();
        if swarm.below(4) > 0 { Shape::swarm(&mut swarm) } else { Shape::usual(random) }
    }

    /// Some of everything.
    pub fn usual(random: &mut Random) -> Shape {
        let sales: Vec<Sale> = (0..1 + random.below(2))
            .map(|number| Sale {
                product: format!("phone-{number}"),
                quantity: 5 + random.below(60),
                rate: if random.per_mille(300) { 10 + random.below(40) } else { 0 },
                burst: 50,
                per_user: if random.per_mille(300) { 1 + random.below(4) as u16 } else { 0 },
                opens_after: if random.per_mille(250) { drawn_opening(random) } else { Duration::ZERO },
                is_fair: false,
            })
            .collect();
        let edges: Vec<usize> = (0..1 + random.below(2)).map(|_| 1 + random.below(2) as usize).collect();
        let mut shape = Shape {
            workers: 1 + random.below(2) as usize,
            nodes: if random.per_mille(500) { 1 } else { 3 },
            partitions: 1 + random.below(4) as usize,
            buyers: buyers(random, &sales),
            lookers: Vec::new(),
            faults: Vec::new(),
            rebuilds_by_itself: random.per_mille(200),
            rebuilds_at_once: false,
            idempotency_ttl: if random.per_mille(200) { Duration::from_secs(60) } else { Duration::from_secs(86_400) },
            unrest: UNREST + FAULT_MAX,
            bounds: Bounds::default(),
            rares: Vec::new(),
            sales,
            edges,
        };
        for _ in 0..random.below(6) {
            let fault = draw(random, &shape);
            let at = Duration::from_micros(random.below(UNREST.as_micros() as u64));
            // Short and long ones alike: the first are met by a single deadline, the second by all of them.
            let most = 100 << random.below(8);
            let lasts = Duration::from_millis(random.below(most) + 1).min(FAULT_MAX);
            shape.faults.push(Planned { at, lasts, fault });
        }
        shape.faults.sort_by_key(|planned| planned.at);
        shape.draw_lines(random);
        shape.draw_lookers(random);
        shape.draw_openings(random);
        shape.draw_ends_of_records(random);
        shape.let_no_clock_go_back();
        shape
    }

    /// Which sales are fair, and what their crowd does with tickets. Drawn last, so that a run without a fair sale is what it
    /// was before there were any.
    fn draw_lines(&mut self, random: &mut Random) {
        for sale in &mut self.sales {
            if random.per_mille(400) {
                sale.is_fair = true;
                // Few at once, so that a crowd of this size has to wait.
                (sale.rate, sale.burst) = (3 + random.below(30), 2 + random.below(10));
            }
            if sale.is_fair && sale.opens_after.is_zero() && random.per_mille(300) {
                sale.opens_after = drawn_opening(random);
            }
        }
        let sales = &self.sales;
        let is_fair = |order: &Order| sales.iter().any(|sale| sale.is_fair && sale.product == order.product);
        for buyer in self.buyers.iter_mut().filter(|buyer| is_fair(&buyer.order)) {
            buyer.wants_json = random.per_mille(500);
            buyer.habit = drawn_habit(random);
            buyer.attempts_max = match buyer.habit {
                // Takes a place and never comes again.
                _ if random.per_mille(100) => 1,
                Habit::Careless | Habit::Forger | Habit::Cheat => ATTEMPTS_WITHOUT_TICKET_MAX,
                Habit::Impatient | Habit::Patient => buyer.attempts_max,
            };
        }
        let has_line = self.sales[0].is_fair;
        for planned in &mut self.faults {
            if let Fault::KeyDeleted(key) | Fault::KeySpoilt(key) = &mut planned.fault
                && has_line
                && random.per_mille(200)
            {
                *key = "queue";
            }
        }
        if random.per_mille(300) {
            self.draw_cheats(random);
        }
    }

    /// Some of those who come to a fair sale are one user, who makes the most of one place; and the note of who was served is lost.
    pub(super) fn draw_cheats(&mut self, random: &mut Random) {
        let Some(product) = self.sales.iter().find(|sale| sale.is_fair).map(|sale| sale.product.clone()) else {
            return;
        };
        for buyer in self.buyers.iter_mut().filter(|buyer| buyer.order.product == product) {
            if random.per_mille(150) {
                let order = Order { user: "cheat".to_owned(), ..Order::clone(&buyer.order) };
                (buyer.order, buyer.habit) = (Arc::new(order), Habit::Cheat);
                buyer.attempts_max = ATTEMPTS_WITHOUT_TICKET_MAX;
            }
        }
        for planned in &mut self.faults {
            match &mut planned.fault {
                Fault::KeyDeleted(key) | Fault::KeySpoilt(key) if *key == "queue" => *key = "turns",
                _ => {}
            }
        }
    }

    /// Who looks, in two of five runs. Drawn behind all that was there before, like what follows.
    fn draw_lookers(&mut self, random: &mut Random) {
        let count = if random.per_mille(400) { 1 + random.below(3) } else { 0 };
        for _ in 0..count {
            let sale = random.below(self.sales.len() as u64) as usize;
            let comes_after = Duration::from_millis(random.below(UNREST.as_millis() as u64));
            let look = match random.below(10) {
                0..=1 => Look::Stock,
                2..=3 => Look::Queue,
                4..=5 => Look::Order,
                6 => Look::Ready,
                _ => Look::MadeUp,
            };
            self.lookers.push(Looker {
                look,
                product: (!random.per_mille(100)).then(|| self.sales[sale].product.clone()),
                comes_after,
                leaves_after: comes_after + Duration::from_millis(500 << random.below(5)),
                pause: Duration::from_millis(100 << random.below(4)),
                at_once: 1 + if random.per_mille(300) { random.below(4) as u32 } else { 0 },
            });
        }
    }

    /// Sales that follow each other, each with options of its own; and a Redis that was given up and comes back.
    fn draw_openings(&mut self, random: &mut Random) {
        if random.per_mille(150) {
            for _ in 0..1 + random.below(3) {
                let sale = random.below(self.sales.len() as u64) as usize;
                let next = Sale::follows(random, &self.sales[sale]);
                let at = Duration::from_micros(random.below(UNREST.as_micros() as u64));
                self.faults.push(Planned { at, lasts: Duration::ZERO, fault: Fault::SaleReopened(Box::new(next)) });
            }
        }
        if random.per_mille(20) {
            let at = Duration::from_micros(random.below(UNREST.as_micros() as u64 / 2));
            // Longer than a rebuild takes.
            let lasts = Duration::from_secs(20 + random.below(20));
            let missed = Duration::from_millis(random.below(1000));
            self.faults.push(Planned { at, lasts, fault: Fault::OldMasterWakes(missed) });
        }
        self.faults.sort_by_key(|planned| planned.at);
    }

    /// Records that run out while somebody still asks: few runs, because they last longer than all others.
    fn draw_ends_of_records(&mut self, random: &mut Random) {
        if random.per_mille(30) {
            self.idempotency_ttl = Duration::from_secs(60);
            for buyer in &mut self.buyers {
                if random.per_mille(300) {
                    buyer.asks_again_after = Some(Duration::from_millis(55_000 + random.below(45_000)));
                }
            }
        }
    }

    /// Whether no idempotency record runs out during a run, on Redis' clock.
    pub fn records_last(&self) -> bool {
        let ahead_ms = self.faults.iter().map(|planned| match planned.fault {
            Fault::RedisClock(offset_ms) => offset_ms.unsigned_abs(),
            _ => 0,
        });
        // Set back and then forward it jumps over both.
        let jump = Duration::from_millis(2 * ahead_ms.max().unwrap_or(0));
        self.idempotency_ttl >= LONG_TTL + jump
    }

    /// Whether a sale has a fair queue.
    pub fn has_line(&self) -> bool {
        self.sales.iter().any(|sale| sale.is_fair)
    }

    /// Whether a sale opens later than it is announced.
    pub fn has_countdown(&self) -> bool {
        self.sales.iter().any(|sale| !sale.opens_after.is_zero())
    }
}

/// Before the crowd has come, in its midst, or when all have come.
fn drawn_opening(random: &mut Random) -> Duration {
    START + Duration::from_micros(random.below(UNREST.as_micros() as u64))
}

pub(super) fn drawn_habit(random: &mut Random) -> Habit {
    match random.below(10) {
        0..=4 => Habit::Impatient,
        5..=7 => Habit::Patient,
        8 => Habit::Careless,
        _ => Habit::Forger,
    }
}

fn buyers(random: &mut Random, sales: &[Sale]) -> Vec<Buyer> {
    let mut buyers: Vec<Buyer> = Vec::new();
    let count = 10 + random.below(90);
    // All at once, or spread over the unrest.
    let spread = if random.per_mille(300) { 200 } else { UNREST.as_millis() as u64 };
    for number in 0..count {
        let twin = buyers.last().filter(|_| random.per_mille(100)).map(|buyer| Arc::clone(&buyer.order));
        let order = match twin {
            // The same order from two hands at once; now and then with another quantity.
            Some(order) if random.per_mille(800) => order,
            Some(order) => Arc::new(Order { quantity: order.quantity + 1, ..Order::clone(&order) }),
            None => {
                let sale = &sales[random.below(sales.len() as u64) as usize];
                let quantity = if random.per_mille(800) { 1 } else { 2 + random.below(3) as u16 };
                // Where a user may have so many only, some want more, under one key after another.
                let user = if sale.per_user > 0 { random.below(1 + count / 3) } else { number };
                Arc::new(Order::new(&sale.product, &format!("user-{user}"), &format!("key-{number}"), quantity))
            }
        };
        buyers.push(Buyer {
            order,
            comes_after: Duration::from_millis(random.below(spread)),
            attempts_max: ATTEMPTS_MAX,
            door: None,
            hang_up_per_mille: if random.per_mille(300) { 200 } else { 0 },
            asks_again_after: random.per_mille(250).then(|| Duration::from_millis(random.below(4000))),
            asks_again_times: 1,
            wants_json: false,
            habit: Habit::Impatient,
        });
    }
    buyers
}

/// Nobody gives up as long as a run lasts: who is not served in the end is a fault found.
pub const ATTEMPTS_MAX: u32 = 200;
/// Who shows no ticket of its own may come in vain for ever, and so does not.
pub(super) const ATTEMPTS_WITHOUT_TICKET_MAX: u32 = 20;
