//! What a check explores: the bounds of one scenario, and the bug that is planted in it.

use std::time::Duration;

use flux_protocol::fence::Spans;

/// Units of the sale.
pub const UNITS: u8 = 1;
/// How long an edge is current, in ticks. All spans are scaled down together: what matters is which end comes first.
const CURRENCY: u64 = 1;
/// How long a 200 may be answered, in ticks.
const ANSWERED_AGE: u64 = 2;
/// By how much an edge's clock may be slow over these spans, and a rebuild's fast over its wait: a tick each, which is far more
/// than 1 % of them.
const DRIFT: u64 = 1;
/// The shortest wait that is sound. In whole ticks each span ends *before* its last tick, which leaves one to spare.
const WAIT: u64 = CURRENCY + ANSWERED_AGE + 2 * DRIFT - 1;

/// What is changed in the protocol. Each must be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// A rebuild writes its fence when it has opened the sale.
    FenceAfterOpening,
    /// An edge is current from when it reads its heartbeat back, not from when it sent it.
    CurrencyFromArrival,
    /// An edge obeys whatever other fence it reads, a lower one too.
    AnyOtherFenceObeyed,
    /// A heartbeat is acknowledged, and read back, by a leader that has been superseded.
    HeartbeatAcksOne,
    /// A rebuild goes on when all edges obey, whatever they have under way.
    NoDrain,
    /// The script of a reservation does not look whether the sale is bound to this Redis.
    ScriptIgnoresReplid,
    /// The wait does not cover the drift of clocks.
    WaitTooShort,
    /// The wait counts from when the fence was sent, not from when it stood in the log.
    WaitFromSending,
    /// Word that an edge is gone is believed whatever it has said since.
    GoneWhateverItSaid,
    /// An edge is said to be gone as soon as it is late.
    GoneTooSoon,
    /// The topic keeps one fence of a product: the last one written.
    KeyedByProduct,
    /// The topic keeps one fence of a generation, whichever Redis it names: the last one written.
    KeyWithoutReplid,
    /// Of two fences of one generation the last stands.
    EqualFenceReplaces,
    /// `/init` writes its fence by a producer that is not idempotent: it may come twice, and the second is what compaction keeps.
    OpeningFencedTwice,
    /// A product of which no fence is known is sold.
    AbsenceSells,
    /// The ledger takes a record of an older generation that comes after that one's end.
    LateRecordsStored,
    /// A 200 is answered however late the acknowledgement comes.
    AnswersHoweverLate,
    /// An edge that is to be drained waits for what it has under way, and gives nothing up.
    NeverGivesUp,
    /// Edges of the version before the fence sell sales that were opened under one.
    OldVersionsSellFenced,
    /// A rebuild of a sale that was opened without a fence asks for nobody's word that its old Redis is dead.
    UnfencedTrusted,
    /// Such a rebuild goes on when all edges that it hears of are drained.
    UnfencedHurried,
}

/// How the sale stands when a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Begins {
    /// Opened on the first Redis under a fence, which all edges obey and are current by.
    Fenced,
    /// Opened on the first Redis by the version before the fence.
    Unfenced,
    /// Not opened yet; both Redis are masters.
    Nothing,
}

/// The bounds of one exploration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scenario {
    /// The bug, if one is planted.
    pub bug: Option<Bug>,
    /// How it begins.
    pub begins: Begins,
    /// Orders of each edge; as many edges.
    pub orders: Vec<u8>,
    /// How many of these edges, from the first on, are of the version before the fence.
    pub old_edges: usize,
    /// Heartbeats that each edge sends, beside the one by which it is current at the start.
    pub heartbeats: Vec<u8>,
    /// Rebuilds, each of which may be left at any step.
    pub rebuilds: usize,
    /// Edges that are started anew, from the last on, each once.
    pub restarts: usize,
    /// Whether each edge may open the sale once.
    pub opens: bool,
    /// Whether others may say once of the first edge that it is gone.
    pub buries: bool,
    /// Whether the fences' topic may be compacted once, while an edge has yet to start anew, and the first fence may come twice.
    pub compacts: bool,
    /// Whether a call to Redis and an acknowledgement of Kafka travel by steps of their own. Without it they come at once where
    /// they come in time, which is no loss: a Redis that takes a reservation late would have taken it before (its generation only
    /// rises, its units only fall), and a 200 is answered no later for it.
    pub splits: bool,
    /// The last tick.
    pub ends: u8,
    /// Whether it is tried of every state that all comes to rest.
    pub rests: bool,
}

impl Scenario {
    /// Two edges that sell and send heartbeats, one rebuild. All else begins with this.
    pub fn failover() -> Scenario {
        Scenario {
            bug: None,
            begins: Begins::Fenced,
            orders: vec![2, 1],
            old_edges: 0,
            heartbeats: vec![1, 1],
            rebuilds: 1,
            restarts: 0,
            opens: false,
            buries: false,
            compacts: false,
            splits: false,
            ends: (WAIT - DRIFT) as u8,
            rests: true,
        }
    }

    /// One edge, with two orders whose every message travels by itself.
    pub fn every_message() -> Scenario {
        Scenario { orders: vec![2], heartbeats: vec![1], splits: true, ..Scenario::failover() }
    }

    /// Two rebuilds at once, of either Redis, the first of which is left at any step, its fence on its way.
    pub fn two_rebuilds() -> Scenario {
        Scenario { orders: vec![2], heartbeats: vec![1], rebuilds: 2, ..Scenario::failover() }
    }

    /// The same, one of each Redis, with a fence that comes twice, a topic that is compacted, and an edge that starts anew and sells.
    pub fn compacted() -> Scenario {
        Scenario { orders: vec![1], restarts: 1, compacts: true, rests: false, ..Scenario::two_rebuilds() }
    }

    /// An edge of which others say that it is gone, with word of it that comes late.
    pub fn gone() -> Scenario {
        Scenario { orders: vec![1], heartbeats: vec![1], buries: true, ends: WAIT as u8 + 2, ..Scenario::failover() }
    }

    /// A product's first sale, opened on two masters at once.
    pub fn opening() -> Scenario {
        let (orders, heartbeats, begins) = (vec![1, 1], vec![0, 1], Begins::Nothing);
        let (rebuilds, restarts, ends) = (0, 1, 0);
        Scenario {
            begins,
            orders,
            heartbeats,
            rebuilds,
            restarts,
            ends,
            opens: true,
            compacts: true,
            rests: false,
            ..Scenario::failover()
        }
    }

    /// A rolling restart: an edge of the version before beside one of this, and a sale that the one before opened, or this.
    pub fn upgrade(begins: Begins) -> Scenario {
        let (orders, heartbeats) = (vec![1, 1], vec![0, 1]);
        Scenario { begins, old_edges: 1, orders, heartbeats, rests: false, ..Scenario::failover() }
    }

    /// The same with a bug.
    pub fn with(self, bug: Bug) -> Scenario {
        let rests = self.rests && bug == Bug::NeverGivesUp;
        Scenario { bug: Some(bug), rests, ..self }
    }

    /// Whether it is this bug that is planted.
    pub fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// The spans as clocks keep them that are as wrong as they may be, in real ticks of a microsecond. An edge may do less than its
    /// spans allow, and a rebuild wait for longer: the worst clocks have all that others have.
    pub fn spans(&self) -> Spans {
        let wait = WAIT - DRIFT - u64::from(self.has(Bug::WaitTooShort));
        Spans {
            // Whenever the adversary likes; their number is bounded.
            heartbeat_interval: Duration::ZERO,
            currency: Duration::from_micros(CURRENCY + DRIFT),
            answered_age: Duration::from_micros(ANSWERED_AGE),
            wait: Duration::from_micros(wait),
        }
    }

    /// For how many ticks an edge must have been silent before others say that it is gone.
    pub fn silence(&self) -> u8 {
        if self.has(Bug::GoneTooSoon) { 1 } else { WAIT as u8 }
    }
}
