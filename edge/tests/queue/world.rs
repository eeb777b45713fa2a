//! A sale with a fair queue under virtual time: a crowd with pages, edges with cores, one Redis. One seed draws it all.
//!
//! A page with a ticket looks once a second at a document that a CDN keeps for a second, and orders when it was called.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use flux_protocol::queue::limits::RETRY_US;
use flux_protocol::queue::{
    FairQueue, Place, Seed, Slot, TICKET_TEXT_BYTES, Terms, Ticket, TicketKey, Watermark, slot_at,
};

use crate::core::{Call, Core, Said};
use crate::redis::{FirstDesign, Leased, Redis, Rule};

/// Microseconds of a second.
pub(crate) const SECOND: u64 = 1_000_000;

/// A sequence of numbers from one seed (splitmix64).
#[derive(Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// One who comes.
#[derive(Clone, Default)]
pub(crate) struct Visitor {
    /// When, µs of the simulation.
    pub(crate) comes_us: u64,
    /// Takes a place and leaves.
    pub(crate) leaves: bool,
    /// Does not wait to be called, but asks ten times a second.
    pub(crate) hammers: bool,
    /// Goes on ordering, under a new key each time, by the first place they were given and by the last in turn: from so many
    /// hands at once, each fifty times a second.
    pub(crate) cheats: u32,
    /// When they were served each time, and whether by a place.
    pub(crate) served_again: Vec<(u64, bool)>,
    /// The last place's text, where it is not the first's.
    pub(crate) last_text: Option<[u8; TICKET_TEXT_BYTES]>,
    /// The ticket's text.
    pub(crate) text: Option<[u8; TICKET_TEXT_BYTES]>,
    pub(crate) place: Option<Place>,
    /// When they were given the place.
    pub(crate) given_us: u64,
    /// When Redis called the place; when they first came after that; when they got a token.
    pub(crate) called_us: Option<u64>,
    pub(crate) came_us: Option<u64>,
    pub(crate) served_us: Option<u64>,
}

/// What is played.
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) edges: usize,
    pub(crate) rate: u64,
    pub(crate) burst: u64,
    pub(crate) stock: u64,
    pub(crate) opens_us: u64,
    pub(crate) ends_us: u64,
    pub(crate) visitors: Vec<Visitor>,
    /// From when to when an edge is down.
    pub(crate) outages: Vec<(usize, u64, u64)>,
    /// Of a hundred replies of Redis, so many are lost.
    pub(crate) lost_percent: u64,
    /// Of a hundred requests, so many do not go to the core that the last one went to.
    pub(crate) stray_percent: u64,
    /// µs that an edge is away from Redis, there and back, for the edge farthest off.
    pub(crate) farthest_us: u64,
    /// Play the rule as it was designed at first, by these places.
    pub(crate) first_design: Option<Vec<Place>>,
}

/// What was seen.
pub(crate) struct Played {
    pub(crate) visitors: Vec<Visitor>,
    /// When each token was used, in order.
    pub(crate) tokens_us: Vec<u64>,
    /// Where the watermark stood once a second.
    pub(crate) marks: Vec<(u64, Watermark)>,
    /// Most slots that Redis ever counted.
    pub(crate) slots_max: usize,
    pub(crate) line: Option<FairQueue>,
}

enum Event {
    Order(usize),
    Turn(usize),
    AtRedis(usize, u32, Call),
    Reply(usize, u32, Call, Leased),
    Lost(usize, u32, Call),
    Document,
    Down(usize),
    Up(usize),
}

const CORES: usize = 2;

pub(crate) struct World {
    scenario: Scenario,
    random: Random,
    redis: Redis,
    cores: Vec<Core>,
    /// Rises when the edge of a core dies: what was on its way to it finds nobody.
    lives: Vec<u32>,
    up: Vec<bool>,
    seed: Seed,
    key: TicketKey,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    bodies: std::collections::HashMap<u64, Event>,
    next: u64,
    now: u64,
    /// Waiting for the document to call them, and for Redis.
    waiting: BinaryHeap<Reverse<(Place, usize)>>,
    /// What `reserve.lua` notes: by visitor the slot in which they were served.
    turns: std::collections::HashMap<usize, Slot>,
    uncalled: BinaryHeap<Reverse<(Place, usize)>>,
    played: Played,
}

impl World {
    pub(crate) fn play(scenario: Scenario) -> Played {
        let mut random = Random(scenario.seed);
        let terms = Terms { rate: scenario.rate, opens_us: scenario.opens_us };
        let rule = match &scenario.first_design {
            None => Rule::Line(Box::default()),
            Some(places) => {
                let mut places = places.clone();
                places.sort_unstable();
                Rule::FirstDesign(FirstDesign::new(places))
            }
        };
        let seed = Seed::new([scenario.seed as u8; 32]);
        let cores = scenario.edges * CORES;
        let mut world = World {
            redis: Redis::new(terms, scenario.burst, scenario.stock, rule, 0),
            cores: (0..cores)
                .map(|core| Core::new((core / CORES) as u64 * 3600 * SECOND + random.below(SECOND)))
                .collect(),
            lives: vec![0; cores],
            up: vec![true; scenario.edges],
            key: TicketKey::new(&seed, b"iphone-15", 1),
            seed,
            random,
            events: BinaryHeap::new(),
            bodies: std::collections::HashMap::new(),
            next: 0,
            now: 0,
            waiting: BinaryHeap::new(),
            turns: std::collections::HashMap::new(),
            uncalled: BinaryHeap::new(),
            played: Played { visitors: Vec::new(), tokens_us: Vec::new(), marks: Vec::new(), slots_max: 0, line: None },
            scenario,
        };
        world.played.visitors = std::mem::take(&mut world.scenario.visitors);
        world.run();
        if let Rule::Line(line) = world.redis.rule {
            world.played.line = Some(*line);
        }
        world.played
    }

    fn at(&mut self, us: u64, event: Event) {
        self.events.push(Reverse((us.max(self.now), self.next)));
        self.bodies.insert(self.next, event);
        self.next += 1;
    }

    fn run(&mut self) {
        for visitor in 0..self.played.visitors.len() {
            for _ in 0..self.played.visitors[visitor].cheats.max(1) {
                self.at(self.played.visitors[visitor].comes_us, Event::Order(visitor));
            }
        }
        for core in 0..self.cores.len() {
            let first = self.random.below(100_000);
            self.at(first, Event::Turn(core));
        }
        for (edge, from, to) in self.scenario.outages.clone() {
            self.at(from, Event::Down(edge));
            self.at(to, Event::Up(edge));
        }
        self.at(0, Event::Document);
        while let Some(Reverse((us, id))) = self.events.pop() {
            if us > self.scenario.ends_us {
                break;
            }
            self.now = us;
            let event = self.bodies.remove(&id).expect("each event happens once");
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Order(visitor) => self.order(visitor),
            Event::Turn(core) => {
                let said = self.cores[core].handle_time(self.now);
                said.into_iter().for_each(|(visitor, said)| self.tell(core, visitor, said));
                self.ask(core);
                self.at(self.now + 10_000, Event::Turn(core));
            }
            Event::AtRedis(core, life, call) => self.at_redis(core, life, call),
            Event::Reply(core, life, call, leased) if life == self.lives[core] => {
                let (seed, opens_us) = (self.seed.clone(), self.scenario.opens_us);
                let said = self.cores[core].handle_reply(self.now, &call, &leased, opens_us, |v| seed.rank(&user(v)));
                said.into_iter().for_each(|(visitor, said)| self.tell(core, visitor, said));
                self.ask(core);
            }
            Event::Lost(core, life, call) if life == self.lives[core] => {
                let said = self.cores[core].handle_lost(&call);
                said.into_iter().for_each(|(visitor, said)| self.tell(core, visitor, said));
            }
            // The edge has died meanwhile.
            Event::Reply(..) | Event::Lost(..) => {}
            Event::Document => self.document(),
            Event::Down(edge) => {
                self.up[edge] = false;
                for core in edge * CORES..(edge + 1) * CORES {
                    self.lives[core] += 1;
                    for visitor in self.cores[core].end() {
                        self.at(self.now + SECOND, Event::Order(visitor));
                    }
                }
            }
            Event::Up(edge) => self.up[edge] = true,
        }
    }

    fn ask(&mut self, core: usize) {
        if !self.up[core / CORES] {
            return;
        }
        if let Some(call) = self.cores[core].poll_call(self.now) {
            let there = self.travel(core);
            self.at(self.now + there, Event::AtRedis(core, self.lives[core], call));
        }
    }

    /// Half of a round trip, the same each time: calls and replies of one connection keep their order.
    fn travel(&self, core: usize) -> u64 {
        200 + self.scenario.farthest_us * (core / CORES + 1) as u64 / self.scenario.edges as u64 / 2
    }

    fn at_redis(&mut self, core: usize, life: u32, call: Call) {
        let leased = self.redis.lease(self.now, call.wanted.unwrap_or(0), &call.report);
        let mark = self.redis.watermark();
        while self.uncalled.peek().is_some_and(|Reverse((place, _))| mark.has_called(*place)) {
            let Some(Reverse((_, visitor))) = self.uncalled.pop() else { unreachable!("peeked") };
            self.played.visitors[visitor].called_us = Some(self.now);
        }
        if let Rule::Line(line) = &self.redis.rule {
            let uncalled: u64 = line.waiting.values().sum();
            assert_eq!(uncalled - line.called_here, line.issued - line.called, "every count is somewhere");
            self.played.slots_max = self.played.slots_max.max(line.waiting.len());
        }
        let back = self.now + self.travel(core);
        if self.random.percent(self.scenario.lost_percent) {
            self.at(back, Event::Lost(core, life, call));
        } else {
            self.at(back, Event::Reply(core, life, call, leased));
        }
    }

    fn order(&mut self, visitor: usize) {
        let home = visitor % self.cores.len();
        let cheats = self.played.visitors[visitor].cheats > 0;
        let mut core = if cheats || self.random.percent(self.scenario.stray_percent) {
            self.random.below(self.cores.len() as u64) as usize
        } else {
            home
        };
        while !self.up[core / CORES] {
            core = (core + 1) % self.cores.len();
        }
        let this = &mut self.played.visitors[visitor];
        if this.called_us.is_some() && this.came_us.is_none() {
            this.came_us = Some(self.now);
        }
        let last = this.last_text.filter(|_| cheats && self.now.is_multiple_of(2));
        let text = last.or(this.text);
        let text = text.as_ref().map(|text| &text[..]);
        let said = self.cores[core].handle_order(self.now, (&self.seed, &self.key), visitor, &user(visitor), text);
        self.tell(core, visitor, said);
        self.ask(core);
    }

    /// What `reserve.lua` says to a token that was taken by a place of that slot: up to which slot the visitor's are used up, if
    /// that one is. Else it is from now on.
    fn used_up(&mut self, visitor: usize, called: Option<Slot>) -> Option<Slot> {
        let now = slot_at(self.now, self.scenario.opens_us);
        let until = self.turns.get(&visitor).copied();
        match (until, called) {
            (Some(until), Some(slot)) if slot <= until => Some(until),
            _ => {
                self.turns.insert(visitor, now);
                None
            }
        }
    }

    fn tell(&mut self, core: usize, visitor: usize, said: Said) {
        if let Said::Token { called, expires } = said {
            let (seed, id) = (self.seed.clone(), user(visitor));
            match self.used_up(visitor, called) {
                Some(until) => {
                    self.cores[core].handle_used_up(self.now, seed.mark(&id), until, Some(expires));
                    let said = self.cores[core].send_behind(self.now, seed.rank(&id), until);
                    return self.tell(core, visitor, said);
                }
                None => called.into_iter().for_each(|slot| {
                    self.cores[core].handle_used_up(self.now, seed.mark(&id), slot, None);
                }),
            }
        }
        let by_place = matches!(said, Said::Token { called: Some(_), .. });
        let cheats = self.played.visitors[visitor].cheats > 0;
        if cheats && said != Said::Later {
            self.at(self.now + SECOND / 50, Event::Order(visitor));
        }
        let this = &mut self.played.visitors[visitor];
        match said {
            Said::Unavailable | Said::Held(_) if cheats => {}
            Said::Line(ticket) if cheats && this.place.is_some() => {
                this.last_text = Some(self.key.sign(ticket, &user(visitor)));
            }
            Said::Later => {}
            Said::Unavailable => self.at(self.now + SECOND, Event::Order(visitor)),
            Said::Held(ticket) => {
                this.text = Some(self.key.sign(ticket, &user(visitor)));
                let again = self.now + RETRY_US + self.random.below(RETRY_US / 10);
                self.at(again, Event::Order(visitor));
            }
            Said::Line(ticket) => self.wait_in_line(visitor, ticket),
            Said::Token { .. } => {
                self.played.tokens_us.push(self.now);
                // A token and nothing left to buy: 409, and the page ends.
                if self.redis.stock > 0 {
                    self.redis.stock -= 1;
                    let this = &mut self.played.visitors[visitor];
                    this.served_again.push((self.now, by_place));
                    assert!(this.served_us.replace(self.now).is_none() || cheats, "nobody orders twice");
                    if let (Rule::FirstDesign(line), Some(place)) = (&mut self.redis.rule, this.place) {
                        line.handle_served(place);
                    }
                }
            }
        }
    }

    fn wait_in_line(&mut self, visitor: usize, ticket: Ticket) {
        let this = &mut self.played.visitors[visitor];
        let Ticket { place, .. } = ticket;
        if this.place.replace(place).is_none() {
            this.given_us = self.now;
            this.text = Some(self.key.sign(ticket, &user(visitor)));
            self.uncalled.push(Reverse((place, visitor)));
            if !this.leaves && !this.hammers && this.cheats == 0 {
                self.waiting.push(Reverse((place, visitor)));
            }
        } else if !this.hammers {
            // The document was ahead of this edge.
            self.at(self.now + SECOND, Event::Order(visitor));
        }
        if self.played.visitors[visitor].hammers {
            self.at(self.now + SECOND / 10, Event::Order(visitor));
        }
    }

    /// Once a second the CDN fetches the document; who was called sees it at their next look, within a second.
    fn document(&mut self) {
        let mark = self.redis.watermark();
        self.played.marks.push((self.now, mark));
        while let Some(Reverse((place, visitor))) = self.waiting.peek().copied() {
            if !mark.has_called(place) {
                break;
            }
            self.waiting.pop();
            let looks = self.now + self.random.below(SECOND) + 20_000 + self.random.below(130_000);
            self.at(looks, Event::Order(visitor));
        }
        self.at(self.now + SECOND, Event::Document);
    }
}

/// The id of a visitor.
pub(crate) fn user(visitor: usize) -> Vec<u8> {
    format!("user-{visitor}").into_bytes()
}
