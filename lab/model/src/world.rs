//! All that there is at one moment: two Redis, the fences' partition, edges, rebuilds, the ledger.

use std::sync::Arc;

use flux_protocol::fence::{Fence, FenceRecord, Gone, Heartbeat, Member, Refusal, Replid, Watch};
use flux_protocol::order::{Identifier, Uuid};
use flux_protocol::time::{Instant, Now};

use crate::scenario::{Begins, Scenario, UNITS};

/// Which generation of which sale. Ordered as fences are.
pub type Generation = (u8, u8);

/// A record of the fences' partition. Small, because every state holds all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    Fence { generation: Generation, redis: u8 },
    Heartbeat { edge: u8, beat: u64, obeyed: u8, drained: u8 },
    Gone { edge: u8, beat: u64 },
}

/// A record and its offset, which compaction leaves as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Placed {
    pub offset: u8,
    pub record: Record,
}

/// What one Redis holds of the sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Redis {
    pub is_master: bool,
    /// Gone for good, as an operator has seen.
    pub is_dead: bool,
    /// (0, 0): it knows of none.
    pub generation: Generation,
    /// The Redis whose history the sale is bound to.
    pub bound: u8,
    pub is_open: bool,
    /// Opened under a fence: no edge of the version before takes it for open.
    pub is_fenced: bool,
    pub units: u8,
}

/// What the ledger has made of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    Stored,
    /// Of a generation that was over: refused, whatever room there is.
    Late,
    NoRoom,
}

/// One order on its way. `at`: when its edge asked whether it may sell, on the edge's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    Unused,
    /// The edge may sell; the call is on its way to that Redis.
    Asked {
        redis: u8,
        generation: Generation,
        at: u8,
    },
    /// Redis has taken the unit. The answer, or the record, is on its way.
    Taken {
        generation: Generation,
        at: u8,
    },
    /// The same, and the edge has given it up.
    Stray {
        generation: Generation,
    },
    /// The record stands in the orders' log; the acknowledgement is on its way.
    Logged {
        at: u8,
        fate: Fate,
    },
    /// Answered 200.
    Accepted(Fate),
    /// Answered anything else.
    Ended,
}

/// How far an `/init` by one edge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opening {
    Unused,
    /// It may open the sale there; the call is on its way.
    Asked(u8),
    /// The sale is open in Redis; the fence is on its way.
    Opened(u8),
    Fenced(u8),
    /// Only where it is a bug: its fence has come twice.
    FencedTwice,
}

/// One edge process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Edge {
    /// `None`: of the version before the fence.
    pub member: Option<Arc<Member>>,
    /// Another one after a restart.
    pub id: u8,
    /// Its place in the partition: offsets below it were read.
    pub read: u8,
    pub sending: Option<Record>,
    /// When its last heartbeat came into the log, in real time.
    pub heard: u8,
    pub heartbeats: u8,
    pub restarts: u8,
    pub orders: Vec<Order>,
    pub opening: Opening,
    /// What a bug has it believe in place of its member: when it read a heartbeat of its own, and whom it obeys.
    pub arrived: Option<u8>,
    pub believed: Option<(Generation, u8)>,
}

/// How far a rebuild is. Left at any of these it is dead, or sleeps for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    Idle,
    /// Its number is raised, its fence was sent. It waits.
    Fencing,
    /// Redis is fenced off, its generation in force, so many units are left.
    Settled(u8),
    Opened,
    /// Somebody else has gone further.
    Superseded,
}

/// One run of `flux-worker rebuild`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rebuild {
    pub stage: Stage,
    pub target: u8,
    pub generation: Generation,
    /// Knows what stands in the log at once: what it hears of late it can only wait for longer for.
    pub watch: Option<Arc<Watch>>,
    pub began: u8,
    /// How often its fence may yet come into the log.
    pub sending: u8,
}

/// PostgreSQL, and the orders' log, of which it has always stored all: a rebuild drains one into the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ledger {
    pub raised: Generation,
    pub in_force: Generation,
    /// Whether what is in force was opened under a fence.
    pub is_fenced: bool,
    pub stored: u8,
    pub has_refused_for_room: bool,
}

/// One moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub now: u8,
    pub log: Vec<Placed>,
    pub log_end: u8,
    pub redis: [Redis; 2],
    pub edges: Vec<Edge>,
    pub rebuilds: Vec<Rebuild>,
    pub ledger: Ledger,
    pub next_id: u8,
    pub burying: Option<Record>,
    pub burials: u8,
    pub compactions: u8,
    /// An edge sold under a lower generation than it had obeyed.
    pub has_walked_back: bool,
}

pub fn product() -> Identifier {
    Identifier::new(b"p").expect("an identifier")
}

pub fn replid(redis: u8) -> Replid {
    Replid::parse(&[b'a' + redis; 40]).expect("an id")
}

pub fn uuid(edge: u8) -> Uuid {
    Uuid([edge; 16])
}

/// A tick of some clock.
pub fn instant(tick: u8) -> Instant {
    Instant::from_micros(u64::from(tick))
}

pub fn fence((sale, generation): Generation, redis: u8) -> Fence {
    let (replid, sale_id, generation) = (replid(redis), u64::from(sale), u32::from(generation));
    Fence { product: product(), sale_id, generation, replid, run_id: replid, node: String::new(), timestamp: 0 }
}

impl Record {
    /// As the machines take it.
    pub fn whole(&self) -> FenceRecord {
        match *self {
            Record::Fence { generation, redis } => FenceRecord::Fence(fence(generation, redis)),
            Record::Heartbeat { edge, beat, obeyed, drained } => FenceRecord::Heartbeat(Heartbeat {
                edge: uuid(edge),
                beat,
                obeyed: i64::from(obeyed),
                drained: i64::from(drained),
                timestamp: 0,
            }),
            Record::Gone { edge, beat } => FenceRecord::Gone(Gone { edge: uuid(edge), beat }),
        }
    }
}

impl Edge {
    fn new(scenario: &Scenario, at: usize) -> Edge {
        let is_old = at < scenario.old_edges;
        let is_renewed = at + scenario.restarts >= scenario.orders.len();
        Edge {
            member: (!is_old).then(|| Arc::new(Member::new(uuid(at as u8), scenario.spans()))),
            id: at as u8,
            read: 0,
            sending: None,
            heard: 0,
            // One that starts anew needs its heartbeats then.
            heartbeats: if is_renewed { 0 } else { scenario.heartbeats[at] },
            restarts: u8::from(is_renewed),
            orders: vec![Order::Unused; usize::from(scenario.orders[at])],
            opening: Opening::Unused,
            arrived: None,
            believed: None,
        }
    }

    /// What its member says of that generation and that Redis. A process of the version before knows no fences.
    pub fn permits(&self, (sale, generation): Generation, redis: u8) -> Result<(), Refusal> {
        let Some(member) = &self.member else { return Ok(()) };
        member.permits(&product(), u64::from(sale), u32::from(generation), &replid(redis))
    }

    /// Whether nothing is under way of what the fence forbids that it obeys, so far as it knows.
    pub fn is_drained(&self) -> bool {
        self.orders.iter().all(|order| match *order {
            Order::Asked { generation, redis, .. } => self.permits(generation, redis).is_ok(),
            Order::Taken { generation, .. } => (0..2).any(|redis| self.permits(generation, redis).is_ok()),
            // The rest is in the log, where a rebuild finds it, or given up.
            _ => true,
        })
    }

    /// Its next heartbeat.
    pub fn heartbeat(&mut self, now: u8) -> Option<Record> {
        let is_drained = self.is_drained();
        let member = Arc::make_mut(self.member.as_mut()?);
        if is_drained {
            member.handle_drained(member.read_to());
        }
        let heartbeat = member.poll_heartbeat(Now { instant: instant(now), wall_ms: 0 })?;
        let Heartbeat { beat, obeyed, drained, .. } = heartbeat;
        Some(Record::Heartbeat { edge: self.id, beat, obeyed: obeyed as u8, drained: drained as u8 })
    }
}

impl World {
    pub fn new(scenario: &Scenario) -> World {
        let sells = scenario.begins != Begins::Nothing;
        let is_fenced = scenario.begins == Begins::Fenced;
        let none = Redis {
            is_master: true,
            is_dead: false,
            generation: (0, 0),
            bound: 0,
            is_open: false,
            is_fenced: false,
            units: 0,
        };
        // The replica was promoted already: an edge that knows nothing of that may sell from the old one as before.
        let first = Redis { generation: (1, 1), is_open: true, is_fenced, units: UNITS, ..none };
        let idle = Rebuild { stage: Stage::Idle, target: 0, generation: (0, 0), watch: None, began: 0, sending: 0 };
        let mut world = World {
            now: 0,
            log: Vec::new(),
            log_end: 0,
            redis: if sells { [first, first] } else { [none, none] },
            edges: (0..scenario.orders.len()).map(|at| Edge::new(scenario, at)).collect(),
            rebuilds: vec![idle; scenario.rebuilds],
            ledger: Ledger { raised: (1, 1), in_force: (1, 1), is_fenced, stored: 0, has_refused_for_room: false },
            next_id: scenario.orders.len() as u8,
            burying: None,
            burials: u8::from(scenario.buries),
            compactions: u8::from(scenario.compacts),
            has_walked_back: false,
        };
        if is_fenced {
            world.append(Record::Fence { generation: (1, 1), redis: 0 });
        }
        for at in 0..world.edges.len() {
            world.read_to_the_end(at);
            if let Some(record) = world.edges[at].heartbeat(0) {
                world.append(record);
            }
        }
        for at in 0..world.edges.len() {
            world.read_to_the_end(at);
        }
        world
    }

    /// A record comes into the partition.
    pub fn append(&mut self, record: Record) {
        self.log.push(Placed { offset: self.log_end, record });
        for watch in self.rebuilds.iter_mut().filter_map(|rebuild| rebuild.watch.as_mut()) {
            let watch = Arc::make_mut(watch);
            watch.handle_record(i64::from(self.log_end), &record.whole(), instant(self.now));
        }
        self.log_end += 1;
    }

    /// An edge reads what stands below this offset.
    pub fn read_to(&mut self, at: usize, end: u8) {
        let edge = &mut self.edges[at];
        let Some(member) = edge.member.as_mut().map(Arc::make_mut) else { return };
        for placed in self.log.iter().filter(|placed| (edge.read..end).contains(&placed.offset)) {
            member.handle_record(i64::from(placed.offset), &placed.record.whole());
        }
        edge.read = end;
    }

    pub fn read_to_the_end(&mut self, at: usize) {
        self.read_to(at, self.log_end);
    }

    /// The ledger stores a record of the orders' log, or not.
    pub fn judge(&mut self, generation: Generation, takes_late: bool) -> Fate {
        let ledger = &mut self.ledger;
        if generation < ledger.in_force && !takes_late {
            return Fate::Late;
        }
        if ledger.stored == UNITS {
            ledger.has_refused_for_room = true;
            return Fate::NoRoom;
        }
        ledger.stored += 1;
        Fate::Stored
    }
}
