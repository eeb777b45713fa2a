//! Swarm shapes: each run draws which features and which faults it has at all, and then has plenty of them.
//!
//! A run with some of everything hardly ever has much of one thing, and faults that hide others are in nearly all of them (Groce
//! and others, Swarm Testing, 2012). Here bounds are small, so that what takes hours otherwise comes within seconds; faults are
//! drawn from a theme or two and gather at a few moments; crowds come in waves, or all for one record.

use std::sync::Arc;
use std::time::Duration;

use flux_lab::crowd::Order;
use flux_protocol::rare::{RARES, Rare};

use super::faults::{Fault, THEMES, WHILE, draw_of};
use super::shape::{
    ATTEMPTS_MAX, ATTEMPTS_WITHOUT_TICKET_MAX, Bounds, FAULT_MAX, Planned, START, Sale, Shape, drawn_habit,
};
use crate::crowd::{Buyer, Habit, Look, Looker};
use crate::random::Random;

/// Longest that anything but an old master is drawn to last after the crowd has come.
const LINGERS: Duration = Duration::from_secs(2);

/// Within which every edge that goes has looked who Redis is.
const SEEN_WITHIN: Duration = Duration::from_millis(1200);

/// Just before a wave comes.
const BEFORE_WAVE_US: u64 = 300_000;
/// For how long somebody is out of it while other things happen, ms: a moment, or longer than a rebuild takes.
const WHILE_MS: [u64; 5] = [500, 2500, 4000, 26_000, 40_000];

/// Faults and when they come.
enum Course {
    /// Anywhere.
    Anywhere,
    /// At one to three moments.
    Gathered,
    /// While somebody is out of it, by a fault of this kind: from when on, and for how long, µs.
    While { kind: u64, from_us: u64, for_us: u64 },
}

/// What a run may have.
struct Features {
    has_rates: bool,
    has_limits: bool,
    has_countdowns: bool,
    has_lines: bool,
    /// Users who order under one key after another.
    has_greed: bool,
    /// The same order from several hands.
    has_twins: bool,
    /// One order that many send at once.
    has_one_record: bool,
    /// Buyers who ask again.
    asks_again: bool,
    /// Buyers who ask again when their record has run out.
    outlives_records: bool,
    hangs_up: bool,
    /// Sales that follow each other.
    follows: bool,
    looks: bool,
    floods: bool,
}

impl Features {
    fn draw(random: &mut Random) -> Features {
        Features {
            has_rates: random.per_mille(400),
            has_limits: random.per_mille(300),
            has_countdowns: random.per_mille(200),
            has_lines: random.per_mille(300),
            has_greed: random.per_mille(350),
            has_twins: random.per_mille(350),
            has_one_record: random.per_mille(200),
            asks_again: random.per_mille(400),
            outlives_records: random.per_mille(300),
            hangs_up: random.per_mille(250),
            follows: random.per_mille(300),
            looks: random.per_mille(350),
            floods: random.per_mille(30),
        }
    }
}

impl Shape {
    /// See the module.
    pub fn swarm(random: &mut Random) -> Shape {
        let features = Features::draw(random);
        // Short runs and long ones.
        let spread = Duration::from_millis([800, 2000, 4000, 8000, 15_000][random.below(5) as usize]);
        let idempotency_ttl = if features.outlives_records {
            Duration::from_millis(2500 + random.below(8000))
        } else {
            Duration::from_secs(86_400)
        };
        let sales: Vec<Sale> =
            (0..1 + random.below(10) / 6).map(|number| sale(random, &features, spread, number)).collect();
        let nodes = [1, 1, 3, 3, 3, 10][random.below(6) as usize];
        let mut shape = Shape {
            edges: (0..1 + random.below(3).min(1)).map(|_| 1 + random.below(4) as usize / 3).collect(),
            workers: 1 + random.below(2) as usize,
            nodes,
            partitions: 1 + random.below(if nodes == 10 { 12 } else { 4 }) as usize,
            buyers: Vec::new(),
            lookers: Vec::new(),
            faults: Vec::new(),
            rebuilds_by_itself: random.per_mille(150),
            rebuilds_at_once: random.per_mille(400),
            idempotency_ttl,
            unrest: spread + LINGERS,
            bounds: bounds(random),
            rares: rares(random),
            sales,
        };
        let waves = shape.draw_buyers(random, &features, spread);
        if features.looks || features.floods {
            shape.draw_crowd_that_looks(random, &features, spread);
        }
        // Where keys are used again after their life, things go wrong about then, too.
        let lasts = if features.outlives_records { spread + idempotency_ttl + LINGERS } else { spread };
        shape.draw_themes(random, lasts, &waves, &features);
        if features.follows {
            shape.draw_sales_that_follow(random, spread);
        }
        shape.draw_scene(random, spread);
        shape.hide_no_history();
        shape.faults.sort_by_key(|planned| planned.at);
        shape.let_no_clock_go_back();
        let last = shape.faults.iter().map(|planned| planned.at + planned.lasts).max().unwrap_or_default();
        shape.unrest = shape.unrest.max(last);
        shape
    }

    /// When waves of them come, where they do, and how long each takes, µs.
    fn draw_buyers(&mut self, random: &mut Random, features: &Features, spread: Duration) -> Vec<(u64, u64)> {
        let most = [10, 30, 90][random.below(3) as usize];
        let count = 5 + random.below(most);
        let waves: Vec<u64> = (0..1 + random.below(3)).map(|_| random.below(spread.as_millis() as u64)).collect();
        let (is_in_waves, users) = (random.per_mille(500), 1 + random.below(1 + count / 2));
        let hot = random.below(count);
        // Within two milliseconds they gather in calls and batches; within more each has its own.
        let width_us = [2000, 2000, 20_000, 200_000][random.below(4) as usize];
        for number in 0..count {
            let last = self.buyers.last().map(|buyer| Arc::clone(&buyer.order));
            let twin = match features.has_one_record && random.per_mille(400) {
                true => self.buyers.get(hot as usize % self.buyers.len().max(1)).map(|buyer| Arc::clone(&buyer.order)),
                false => last.filter(|_| features.has_twins && random.per_mille(250)),
            };
            let order = match twin {
                Some(order) if random.per_mille(850) => order,
                Some(order) => Arc::new(Order { quantity: order.quantity + 1, ..Order::clone(&order) }),
                None => {
                    let sale = &self.sales[random.below(self.sales.len() as u64) as usize];
                    let quantity = if random.per_mille(800) { 1 } else { 2 + random.below(3) as u16 };
                    let user = if features.has_greed { random.below(users) } else { number };
                    Arc::new(Order::new(&sale.product, &format!("user-{user}"), &format!("key-{number}"), quantity))
                }
            };
            let comes_after_us = match is_in_waves {
                true => 1000 * waves[random.below(waves.len() as u64) as usize] + random.below(width_us),
                false => random.below(spread.as_micros() as u64),
            };
            let (asks_again_after, asks_again_times) = if features.outlives_records && random.per_mille(500) {
                (Some(self.idempotency_ttl + Duration::from_millis(random.below(4000))), 1)
            } else if features.asks_again && random.per_mille(400) {
                // Once, or like somebody who loads the page again and again.
                let times = if random.per_mille(300) { 2 + random.below(8) as u32 } else { 1 };
                (Some(Duration::from_millis(random.below(4000) / u64::from(times))), times)
            } else {
                (None, 1)
            };
            let is_fair = self.sales.iter().any(|sale| sale.is_fair && sale.product == order.product);
            let habit = if is_fair { drawn_habit(random) } else { Habit::Impatient };
            let attempts_max = match habit {
                _ if random.per_mille(50) => 1,
                Habit::Careless | Habit::Forger | Habit::Cheat => ATTEMPTS_WITHOUT_TICKET_MAX,
                Habit::Impatient | Habit::Patient => ATTEMPTS_MAX,
            };
            self.buyers.push(Buyer {
                order,
                comes_after: Duration::from_micros(comes_after_us),
                attempts_max,
                door: None,
                hang_up_per_mille: if features.hangs_up { 250 } else { 0 },
                asks_again_after,
                asks_again_times,
                wants_json: is_fair && random.per_mille(500),
                habit,
            });
        }
        if random.per_mille(350) {
            self.draw_cheats(random);
        }
        if is_in_waves { waves.into_iter().map(|at_ms| (1000 * at_ms, width_us)).collect() } else { Vec::new() }
    }

    fn draw_crowd_that_looks(&mut self, random: &mut Random, features: &Features, spread: Duration) {
        const LOOKS: [Look; 8] = [
            Look::Stock,
            Look::Queue,
            Look::Order,
            Look::MadeUp,
            Look::Ready,
            Look::Garbage,
            Look::Stranger,
            Look::Metrics,
        ];
        for _ in 0..1 + random.below(4) {
            let sale = random.below(self.sales.len() as u64) as usize;
            let comes_after = Duration::from_millis(random.below(spread.as_millis() as u64));
            self.lookers.push(Looker {
                look: LOOKS[random.below(LOOKS.len() as u64) as usize],
                product: (!random.per_mille(100)).then(|| self.sales[sale].product.clone()),
                comes_after,
                leaves_after: comes_after + Duration::from_millis(500 << random.below(5)),
                pause: Duration::from_millis(50 << random.below(5)),
                at_once: 1 + if random.per_mille(300) { random.below(4) as u32 } else { 0 },
            });
        }
        if features.floods
            && let Some(flood) = self.lookers.last_mut()
        {
            (flood.at_once, flood.pause) = (20 + random.below(30) as u32, Duration::from_millis(20));
            flood.leaves_after = flood.comes_after + Duration::from_millis(500 + random.below(1000));
        }
    }

    /// Faults of a theme or two, or of all: at a few moments, anywhere, or all of them while somebody is out of it.
    fn draw_themes(&mut self, random: &mut Random, spread: Duration, waves: &[(u64, u64)], features: &Features) {
        let themes = [0, 1, 1, 1, 2, 2, 3, THEMES.len() as u64][random.below(8) as usize];
        let chosen: Vec<&[u64]> = match themes as usize == THEMES.len() {
            true => THEMES.to_vec(),
            false => (0..themes).map(|_| THEMES[random.below(THEMES.len() as u64) as usize]).collect(),
        };
        let kinds: Vec<u64> = chosen.concat();
        if kinds.is_empty() {
            return;
        }
        let moments = self.draw_moments(random, spread, waves, features);
        let course = match random.below(10) {
            0..=1 => Course::Anywhere,
            2..=4 => Course::Gathered,
            _ => self.draw_while(random, &kinds, &moments),
        };
        let most = [3, 6, 14][random.below(3) as usize];
        let count = 1 + random.below(most);
        for _ in 0..count {
            let kind = kinds[random.below(kinds.len() as u64) as usize];
            if matches!(course, Course::While { kind: outer, .. } if kind == outer) {
                // Its end would be that of what all of this happens in.
                continue;
            }
            let mut fault = draw_of(kind, random, self);
            let at_us = match course {
                Course::Gathered => {
                    let width_us = [3000, 300_000, 2_500_000][random.below(3) as usize];
                    moments[random.below(moments.len() as u64) as usize] + random.below(width_us)
                }
                Course::While { from_us, for_us, .. } => {
                    let width_us = [3_000_000, for_us][random.below(2) as usize].min(for_us);
                    from_us + random.below(width_us)
                }
                Course::Anywhere => random.below(spread.as_micros() as u64),
            };
            let most = 100 << random.below(8);
            let lasts = match fault {
                // Longer than a rebuild takes: a machine that stood still wakes up in another world.
                Fault::OldMasterWakes(_) => Duration::from_secs(18 + random.below(20)),
                _ if fault.may_outlast_a_rebuild() && random.per_mille(120) => {
                    Duration::from_secs(16 + random.below(16))
                }
                _ => Duration::from_millis(random.below(most) + 1).min(FAULT_MAX),
            };
            self.adapt(&mut fault, random);
            // What is wrong with a record mostly always was; anything else may be so for as long as anybody comes.
            let is_there_all_along = match fault {
                Fault::OldMasterWakes(_) => false,
                Fault::RecordRefused(..) => random.per_mille(600),
                _ => random.per_mille(60),
            };
            self.faults.push(match is_there_all_along {
                true => Planned { at: Duration::ZERO, lasts: spread.min(FAULT_MAX), fault },
                false => Planned { at: Duration::from_micros(at_us), lasts, fault },
            });
        }
    }

    /// When something goes wrong, µs: anywhere, just before a wave comes or in its midst, or when keys are used again after their
    /// life.
    fn draw_moments(
        &self,
        random: &mut Random,
        spread: Duration,
        waves: &[(u64, u64)],
        features: &Features,
    ) -> Vec<u64> {
        let mut moments: Vec<u64> = (0..1 + random.below(3)).map(|_| random.below(spread.as_micros() as u64)).collect();
        for (at_us, width_us) in waves {
            match random.below(6) {
                0 | 1 => moments.push(at_us.saturating_sub(BEFORE_WAVE_US)),
                2..=4 => moments.push(at_us + random.below(*width_us)),
                _ => {}
            }
            if features.outlives_records {
                moments.push(at_us + self.idempotency_ttl.as_micros() as u64 + random.below(4_000_000));
            }
        }
        moments
    }

    /// Somebody who is out of it from one of these moments on: of these kinds, or any.
    fn draw_while(&mut self, random: &mut Random, kinds: &[u64], moments: &[u64]) -> Course {
        let among: Vec<u64> = WHILE.iter().copied().filter(|kind| kinds.contains(kind)).collect();
        let among = if among.is_empty() || random.per_mille(500) { WHILE } else { &among };
        let kind = among[random.below(among.len() as u64) as usize];
        let mut fault = draw_of(kind, random, self);
        self.adapt(&mut fault, random);
        let spans = if fault.may_outlast_a_rebuild() { WHILE_MS.len() } else { WHILE_MS.len() - 2 };
        let for_us = 1000 * WHILE_MS[random.below(spans as u64) as usize];
        // The later of them are those of waves.
        let among = if random.per_mille(500) { moments.len() / 2 } else { 0 };
        let from_us = moments[among + random.below((moments.len() - among) as u64) as usize];
        let (at, lasts) = (Duration::from_micros(from_us), Duration::from_micros(for_us));
        self.faults.push(Planned { at, lasts, fault });
        // Where Redis is slow as well, most of what was asked for is on its way.
        if random.per_mille(250) {
            let slow = Fault::RedisSlow(Duration::from_millis(1 + random.below(500)));
            let before = Duration::from_millis(random.below(800));
            self.faults.push(Planned { at: at.saturating_sub(before), lasts: before + LINGERS / 2, fault: slow });
        }
        Course::While { kind, from_us, for_us }
    }

    /// Draws more of a fault than its kind does.
    fn adapt(&self, fault: &mut Fault, random: &mut Random) {
        match fault {
            Fault::KeyDeleted(key) | Fault::KeySpoilt(key) if random.per_mille(400) => {
                *key = ["stock", "records"][random.below(2) as usize];
            }
            Fault::KeyDeleted(key) | Fault::KeySpoilt(key) if self.sales[0].is_fair && random.per_mille(300) => {
                *key = ["queue", "turns"][random.below(2) as usize];
            }
            // Just when it has asked for something: the answer waits for it.
            Fault::EdgePaused(_, writes) | Fault::WorkerPaused(_, writes) if random.per_mille(600) => {
                *writes = 1 + random.below(20);
            }
            // Some ten users in place of one.
            Fault::RecordRefused(user, _) if random.per_mille(500) => user.truncate("user-1".len()),
            _ => {}
        }
    }

    /// Some runs have one thing happen on purpose that chance brings together in one of thousands, among all else that they have.
    /// Drawn behind all that, so that the others are what they were before there were scenes.
    fn draw_scene(&mut self, random: &mut Random, spread: Duration) {
        match random.below(1000) {
            0..20 => self.draw_sleeper(random),
            20..35 => self.draw_reloads(random, spread),
            35..50 => self.draw_lost_replies(random),
            50..65 => self.draw_late_records(random),
            _ => {}
        }
    }

    /// An edge stands still while its calls are on their way to a Redis that is slow, for longer than a rebuild takes. Redis carries
    /// them out, then loses them, and an operator rebuilds at once.
    fn draw_sleeper(&mut self, random: &mut Random) {
        let edge = random.below(self.edges.len() as u64) as usize;
        let buyer = random.below(self.buyers.len() as u64) as usize;
        // An edge that waits no longer gives its connection up.
        let slow = self.bounds.redis_deadline / 4;
        let within = |random: &mut Random, span: Duration| Duration::from_micros(random.below(span.as_micros() as u64));
        let at = self.buyers[buyer].comes_after + within(random, slow);
        let lost = slow + Duration::from_millis(5) + within(random, slow);
        let loss = match random.below(3) {
            0..=1 => Fault::RedisFlushed,
            _ => Fault::RedisFailedOver(Duration::from_secs(1)),
        };
        let lasts = Duration::from_millis(26_000 + random.below(14_000));
        let ends_at = at + lost;
        self.faults.push(Planned { at: Duration::ZERO, lasts: ends_at, fault: Fault::SlowEdgeRedis(edge, slow) });
        self.faults.push(Planned { at, lasts, fault: Fault::EdgePaused(edge, 0) });
        self.faults.push(Planned { at: ends_at, lasts: Duration::from_millis(1), fault: loss });
        (self.rebuilds_at_once, self.rebuilds_by_itself) = (true, false);
    }

    /// The first sale is sold out soon, those who have bought load their page again and again, and somebody deletes their records.
    fn draw_reloads(&mut self, random: &mut Random, spread: Duration) {
        let product = self.sales[0].product.clone();
        let of_sale = self.buyers.iter().filter(|buyer| buyer.order.product == product).count() as u64;
        self.sales[0].quantity = 1 + random.below(1 + of_sale / 2);
        for buyer in self.buyers.iter_mut().filter(|buyer| buyer.order.product == product) {
            if random.per_mille(500) {
                (buyer.asks_again_after, buyer.asks_again_times) = (Some(Duration::from_millis(random.below(80))), 30);
            }
        }
        let at = Duration::from_micros(random.below(spread.as_micros() as u64)) + LINGERS / 4;
        self.faults.push(Planned { at, lasts: Duration::from_millis(1), fault: Fault::KeyDeleted("records") });
    }

    /// Every connection to Redis is reset while replies are on their way: what was carried out is asked for once more.
    fn draw_lost_replies(&mut self, random: &mut Random) {
        let edge = random.below(self.edges.len() as u64) as usize;
        let buyer = random.below(self.buyers.len() as u64) as usize;
        // Both ways, a new connection and both ways again are to fit into the deadline.
        let slow = self.bounds.redis_deadline / 10;
        let reset_at = self.buyers[buyer].comes_after + slow + slow.mul_f64(random.below(1000) as f64 / 1000.0);
        let slowed = Fault::SlowEdgeRedis(edge, slow);
        self.faults.push(Planned { at: Duration::ZERO, lasts: reset_at + self.bounds.redis_deadline, fault: slowed });
        self.faults.push(Planned { at: reset_at, lasts: Duration::from_millis(1), fault: Fault::RedisReset });
    }

    /// An edge sends what it has reserved on a way that is so slow that it arrives when a rebuild is over, and is killed. Redis loses
    /// the reservations, and an operator rebuilds at once. No other Redis takes its place: what an old master has sold is not refused.
    fn draw_late_records(&mut self, random: &mut Random) {
        self.faults.retain(|planned| !planned.fault.is_of_replicas());
        let edge = random.below(self.edges.len() as u64) as usize;
        let buyer = random.below(self.buyers.len() as u64) as usize;
        // Redis has the sale still when it has lost what came last.
        let at = self.buyers[buyer].comes_after.max(Duration::from_millis(400));
        let slow = Duration::from_millis(16_000 + random.below(8000));
        let killed_at = at + Duration::from_millis(8 + random.below(40));
        // Some are sure to be there by then.
        for other in self.buyers.iter_mut().skip(buyer).take(8) {
            let within = Duration::from_micros(random.below(6000));
            (other.comes_after, other.door) = (at + within, Some(edge));
        }
        for node in 0..self.nodes {
            let slowed = Fault::SlowEdgeKafka(edge, node, slow);
            self.faults.push(Planned { at, lasts: killed_at - at, fault: slowed });
        }
        let a_second = Duration::from_secs(1);
        self.faults.push(Planned { at: killed_at, lasts: a_second, fault: Fault::EdgeKilled(edge) });
        let lost_at = killed_at + Duration::from_millis(random.below(50));
        let loss = Fault::RedisRolledBack(lost_at - at + Duration::from_millis(5));
        self.faults.push(Planned { at: lost_at, lasts: a_second / 4, fault: loss });
        (self.rebuilds_at_once, self.rebuilds_by_itself) = (true, false);
    }

    fn draw_sales_that_follow(&mut self, random: &mut Random, spread: Duration) {
        for _ in 0..1 + random.below(4) {
            let sale = random.below(self.sales.len() as u64) as usize;
            let at = Duration::from_millis(random.below(spread.as_millis() as u64));
            let fault = if random.per_mille(200) {
                Fault::SaleClosed(sale)
            } else {
                let mut next = Sale::follows(random, &self.sales[sale]);
                if random.per_mille(200) {
                    next.opens_after = START + at + Duration::from_millis(random.below(4000));
                }
                Fault::SaleReopened(Box::new(next))
            };
            self.faults.push(Planned { at, lasts: Duration::ZERO, fault });
        }
    }

    /// There and back, and what looks harmless behind it before anybody can have looked: nobody can see that (GUARANTEES.md, "What
    /// is not promised").
    fn hide_no_history(&mut self) {
        let is_back = |planned: &&Planned| matches!(planned.fault, Fault::RedisThereAndBack(_));
        let hidden: Vec<(Duration, Duration)> = self
            .faults
            .iter()
            .filter(is_back)
            .map(|planned| (planned.at, planned.at + planned.lasts + SEEN_WITHIN))
            .collect();
        for planned in &mut self.faults {
            if !matches!(planned.fault, Fault::ReplicaAttached | Fault::BacklogReleased) {
                continue;
            }
            // Put off behind one it may fall behind another: as often as there are any.
            for _ in 0..hidden.len() {
                let hiding = hidden.iter().find(|(from, until)| (*from..*until).contains(&planned.at));
                planned.at = hiding.map_or(planned.at, |(_, until)| *until);
            }
        }
    }
}

fn sale(random: &mut Random, features: &Features, spread: Duration, number: u64) -> Sale {
    let is_fair = features.has_lines && random.per_mille(800);
    let rate = if is_fair {
        3 + random.below(30)
    } else if features.has_rates {
        5 + random.below(60)
    } else {
        0
    };
    let most = [5, 40, 200][random.below(3) as usize];
    let opens_late = features.has_countdowns && random.per_mille(700);
    Sale {
        product: format!("phone-{number}"),
        quantity: 1 + random.below(most),
        rate,
        // Small bursts: then it shows whether they are kept.
        burst: 2 + random.below(if is_fair { 10 } else { 30 }),
        per_user: if features.has_limits { 1 + random.below(4) as u16 } else { 0 },
        opens_after: if opens_late {
            START + Duration::from_millis(random.below(spread.as_millis() as u64))
        } else {
            Duration::ZERO
        },
        is_fair,
    }
}

/// None, a few, or many.
fn rares(random: &mut Random) -> Vec<Rare> {
    let share = [0, 120, 300, 600][random.below(4) as usize];
    RARES.into_iter().filter(|_| random.per_mille(share)).collect()
}

fn bounds(random: &mut Random) -> Bounds {
    let usual = Bounds::default();
    if random.per_mille(400) {
        return usual;
    }
    let ms = |random: &mut Random, of: &[u64]| Duration::from_millis(of[random.below(of.len() as u64) as usize]);
    Bounds {
        redis_deadline: ms(random, &[50, 200, 500]),
        publish_deadline: ms(random, &[100, 500, 2000]),
        outbox_orders_max: if random.per_mille(300) { 2 + random.below(20) } else { usual.outbox_orders_max },
        batch_orders: if random.per_mille(400) { 1 + random.below(8) } else { usual.batch_orders },
        batch_wait: ms(random, &[0, 20, 20, 500]),
    }
}
