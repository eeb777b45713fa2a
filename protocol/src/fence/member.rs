//! One edge process as a reader and writer of the fences: whether it is current, and which Redis it may sell from.
//!
//! Its shell writes the heartbeats that it is told to ([`Member::poll_heartbeat`]) on acks=all, and hands it every record of the
//! partition up to the high watermark, from the first one that there is, in their order ([`Member::handle_record`]). What
//! makes the process current is a heartbeat of its own *among the records read*: a broker's acknowledgement is believed of
//! none. It counts from when that heartbeat was handed to the producer, because between there and where it was read every
//! fence was read, too.
//!
//! Never walks back: what it has obeyed once it holds against whatever else is read, in whatever order, for as long as the
//! process lives. Never takes absence for leave: a product without a fence is refused.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};

use super::record::{Fence, FenceRecord, Heartbeat, Replid};
use super::spans::Spans;
use crate::order::{Identifier, RecordError, Uuid};
use crate::time::{Instant, Now};

/// Products whose fences one process holds, some 150 bytes each. Of more it holds none, and so sells nothing of them.
pub const FENCED_PRODUCTS_MAX: usize = 1 << 18;
/// Heartbeats written and not read back: those of one span of currency, twice over. An older one makes nobody current.
const HEARTBEATS_OUTSTANDING_MAX: usize = 10;

/// Why a process may not sell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It has not lately read a heartbeat of its own: there may be a fence of which it does not know.
    NotCurrent,
    /// No fence is known of the product.
    NoFence,
    /// A later sale or generation is fenced: this one is over for good.
    Behind,
    /// The fence of this sale or generation was not read yet: it is being opened.
    Ahead,
    /// The fence of this generation names another Redis.
    OtherRedis,
}

/// What the highest fence of a product says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Standing {
    /// The sale.
    pub sale_id: u64,
    /// Its generation.
    pub generation: u32,
    /// The history of the Redis that alone may sell it.
    pub replid: Replid,
}

impl Standing {
    /// Whether this generation of a sale may be sold from the Redis of that history.
    ///
    /// # Errors
    /// [`Refusal`], by the fence alone: why not.
    pub fn permits(&self, sale_id: u64, generation: u32, replid: &Replid) -> Result<(), Refusal> {
        match (sale_id, generation).cmp(&(self.sale_id, self.generation)) {
            std::cmp::Ordering::Less => Err(Refusal::Behind),
            std::cmp::Ordering::Greater => Err(Refusal::Ahead),
            std::cmp::Ordering::Equal if self.replid != *replid => Err(Refusal::OtherRedis),
            std::cmp::Ordering::Equal => Ok(()),
        }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    edge: Uuid,
    spans: Spans,
    standings: BTreeMap<Identifier, Standing>,
    /// Everything below this offset was read.
    read_to: i64,
    drained: i64,
    beat: u64,
    /// When the last heartbeat was handed to the producer.
    sent: Option<Instant>,
    /// Heartbeats that were not read back yet: number, and when they were handed to the producer. In their order.
    outstanding: VecDeque<(u64, Instant)>,
    /// When the latest of those that were read back was handed to the producer.
    confirmed: Option<Instant>,
    strangers: u64,
    left_out: u64,
}

impl Member {
    /// A process that has read nothing yet. `edge` is drawn for this process and for no other, not even for it after a restart.
    pub fn new(edge: Uuid, spans: Spans) -> Member {
        Member {
            edge,
            spans,
            standings: BTreeMap::new(),
            read_to: 0,
            drained: 0,
            beat: 0,
            sent: None,
            outstanding: VecDeque::with_capacity(HEARTBEATS_OUTSTANDING_MAX),
            confirmed: None,
            strangers: 0,
            left_out: 0,
        }
    }

    /// A record of the partition as it stands there, at its offset; what it says.
    ///
    /// # Errors
    /// [`RecordError`]: a stranger's. It is counted, and nothing else.
    pub fn handle_bytes(&mut self, offset: i64, key: &[u8], value: Option<&[u8]>) -> Result<FenceRecord, RecordError> {
        let parsed = FenceRecord::parse(key, value);
        match &parsed {
            Ok(record) => self.handle_record(offset, record),
            Err(_) => {
                self.strangers += 1;
                self.read_to = self.read_to.max(offset + 1);
            }
        }
        parsed
    }

    /// The same, parsed.
    pub fn handle_record(&mut self, offset: i64, record: &FenceRecord) {
        self.read_to = self.read_to.max(offset + 1);
        match record {
            FenceRecord::Fence(fence) => self.obey(fence),
            FenceRecord::Heartbeat(heartbeat) if heartbeat.edge == self.edge => self.confirm(heartbeat.beat),
            FenceRecord::Heartbeat(_) | FenceRecord::Gone(_) | FenceRecord::LetGo => {}
        }
    }

    /// The topic was made anew, or ends before what was read of it: it is read again from its beginning. What was obeyed is
    /// obeyed still; nobody is current, and nothing is drained, by what another topic said.
    pub fn handle_new_log(&mut self) {
        (self.read_to, self.drained, self.confirmed) = (0, 0, None);
        self.outstanding.clear();
    }

    /// Every core has seen all fences below the offset, and nothing is under way any more, in any of them, of what those forbid:
    /// it was answered, or given up.
    pub fn handle_drained(&mut self, to: i64) {
        debug_assert!(to <= self.read_to, "drained of what was not read");
        self.drained = self.drained.max(to.min(self.read_to));
    }

    /// The heartbeat that is to be written now, on acks=all, where one is due.
    pub fn poll_heartbeat(&mut self, now: Now) -> Option<Heartbeat> {
        if now.instant < self.next_deadline() {
            return None;
        }
        self.beat += 1;
        self.sent = Some(now.instant);
        if self.outstanding.len() == HEARTBEATS_OUTSTANDING_MAX {
            self.outstanding.pop_front();
        }
        self.outstanding.push_back((self.beat, now.instant));
        let Member { edge, beat, read_to, drained, .. } = *self;
        Some(Heartbeat { edge, beat, obeyed: read_to, drained, timestamp: now.wall_ms })
    }

    /// When a heartbeat is due.
    pub fn next_deadline(&self) -> Instant {
        self.sent.map_or(Instant::default(), |sent| sent + self.spans.heartbeat_interval)
    }

    /// Whether no fence that it does not know of can have been waited out.
    pub fn is_current(&self, now: Instant) -> bool {
        self.current_until().is_some_and(|until| now < until)
    }

    /// Whether the sale may be sold from the Redis of that history, by what was read: whether that is up to date is
    /// [`Member::is_current`].
    pub fn permits(&self, product: &Identifier, sale_id: u64, generation: u32, replid: &Replid) -> Result<(), Refusal> {
        self.standing(product).ok_or(Refusal::NoFence)?.permits(sale_id, generation, replid)
    }

    /// The highest fence of a product that was read.
    pub fn standing(&self, product: &Identifier) -> Option<Standing> {
        self.standings.get(product).copied()
    }

    /// Until when it is current, where it is or was.
    pub fn current_until(&self) -> Option<Instant> {
        self.confirmed.map(|sent| sent + self.spans.currency)
    }

    /// The number of the last heartbeat that it was told to write; 0 before the first.
    pub fn beat(&self) -> u64 {
        self.beat
    }

    /// Whether an order of this sale may be reserved at the Redis of that history now. `now` is from when the order's age counts.
    pub fn may_sell(
        &self,
        product: &Identifier,
        sale_id: u64,
        generation: u32,
        replid: &Replid,
        now: Instant,
    ) -> Result<(), Refusal> {
        if !self.is_current(now) {
            return Err(Refusal::NotCurrent);
        }
        self.permits(product, sale_id, generation, replid)
    }

    /// Everything below this offset was read.
    pub fn read_to(&self) -> i64 {
        self.read_to
    }

    /// Records that were none of ours.
    pub fn strangers(&self) -> u64 {
        self.strangers
    }

    /// Fences of products beyond [`FENCED_PRODUCTS_MAX`], each time that one was read.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Of two fences of one generation the first that was written stands.
    fn obey(&mut self, fence: &Fence) {
        let standing = Standing { sale_id: fence.sale_id, generation: fence.generation, replid: fence.replid };
        let has_room = self.standings.len() < FENCED_PRODUCTS_MAX;
        match self.standings.entry(fence.product) {
            Entry::Occupied(mut held) if fence.is_above(held.get().sale_id, held.get().generation) => {
                held.insert(standing);
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(free) if has_room => {
                free.insert(standing);
            }
            Entry::Vacant(_) => self.left_out += 1,
        }
    }

    /// A heartbeat of its own was read. Those before it are of no use any more; one that comes twice is not outstanding.
    fn confirm(&mut self, beat: u64) {
        while let Some((outstanding, sent)) = self.outstanding.front().copied().filter(|(number, _)| *number <= beat) {
            self.outstanding.pop_front();
            if outstanding == beat {
                self.confirmed = self.confirmed.max(Some(sent));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Gone;
    use super::*;

    const OURS: Uuid = Uuid([1; 16]);

    fn at(ms: u64) -> Now {
        Now { instant: Instant::from_micros(ms * 1000), wall_ms: ms }
    }

    fn product(name: &str) -> Identifier {
        Identifier::new(name.as_bytes()).expect("an identifier")
    }

    fn redis(of: char) -> Replid {
        Replid::parse(of.to_string().repeat(40).as_bytes()).expect("an id")
    }

    fn fence(sale_id: u64, generation: u32, of: char) -> FenceRecord {
        let (product, node) = (product("p"), String::new());
        FenceRecord::Fence(Fence {
            product,
            sale_id,
            generation,
            replid: redis(of),
            run_id: redis(of),
            node,
            timestamp: 0,
        })
    }

    fn read(member: &mut Member, records: impl IntoIterator<Item = FenceRecord>) {
        for record in records {
            let offset = member.read_to();
            member.handle_record(offset, &record);
        }
    }

    fn beat(member: &mut Member, now: Now) -> FenceRecord {
        FenceRecord::Heartbeat(member.poll_heartbeat(now).expect("one is due"))
    }

    fn sells(member: &Member, sale_id: u64, generation: u32, of: char, now: Now) -> Result<(), Refusal> {
        member.may_sell(&product("p"), sale_id, generation, &redis(of), now.instant)
    }

    #[test]
    fn it_is_current_from_when_the_heartbeat_was_sent_that_it_reads_back() {
        let mut member = Member::new(OURS, Spans::SHIPPED);
        assert_eq!(sells(&member, 7, 1, 'a', at(0)), Err(Refusal::NotCurrent));
        let first = beat(&mut member, at(100));
        assert_eq!(member.next_deadline(), at(1100).instant);
        assert_eq!(member.poll_heartbeat(at(1099)), None);
        // What it says has been acknowledged meanwhile is of no matter.
        read(&mut member, [fence(7, 1, 'a')]);
        assert!(!member.is_current(at(200).instant));
        read(&mut member, [first]);
        assert_eq!(sells(&member, 7, 1, 'a', at(5_099)), Ok(()));
        assert_eq!(sells(&member, 7, 1, 'a', at(5_100)), Err(Refusal::NotCurrent), "5 s after it was sent");
    }

    #[test]
    fn heartbeats_that_are_lost_late_or_double_never_make_it_current_for_longer() {
        let mut member = Member::new(OURS, Spans::SHIPPED);
        let sent: Vec<_> = (0..4).map(|second| beat(&mut member, at(second * 1000))).collect();
        // The second is lost, the third comes before the first, and both of them twice.
        read(&mut member, [sent[2].clone(), sent[0].clone(), sent[2].clone(), sent[0].clone()]);
        assert!(member.is_current(at(6_999).instant) && !member.is_current(at(7_000).instant));
        read(&mut member, [sent[3].clone()]);
        assert!(member.is_current(at(7_999).instant) && !member.is_current(at(8_000).instant));
    }

    #[test]
    fn a_heartbeat_that_comes_back_after_many_others_is_not_remembered() {
        let mut member = Member::new(OURS, Spans::SHIPPED);
        let first = beat(&mut member, at(0));
        for second in 1..=HEARTBEATS_OUTSTANDING_MAX as u64 {
            beat(&mut member, at(second * 1000));
        }
        assert_eq!(member.outstanding.len(), HEARTBEATS_OUTSTANDING_MAX);
        read(&mut member, [first]);
        assert!(!member.is_current(at(1).instant));
        let kept = Spans::SHIPPED.heartbeat_interval * HEARTBEATS_OUTSTANDING_MAX as u32;
        assert!(kept > Spans::SHIPPED.currency, "what is forgotten made nobody current");
    }

    #[test]
    fn heartbeats_of_others_and_of_the_process_before_it_are_not_its_own() {
        let mut member = Member::new(OURS, Spans::SHIPPED);
        beat(&mut member, at(0));
        let other = Heartbeat { edge: Uuid([2; 16]), beat: 1, obeyed: 0, drained: 0, timestamp: 0 };
        read(&mut member, [FenceRecord::Heartbeat(other), FenceRecord::Gone(Gone { edge: OURS, beat: 1 })]);
        assert!(!member.is_current(at(0).instant));
        // A number that was never given out.
        read(&mut member, [FenceRecord::Heartbeat(Heartbeat { edge: OURS, beat: 2, ..other })]);
        assert!(!member.is_current(at(0).instant));
    }

    #[test]
    fn it_never_walks_back_whatever_it_reads_in_whatever_order() {
        let mut member = Member::new(OURS, Spans::SHIPPED);
        let own = beat(&mut member, at(0));
        read(&mut member, [own]);
        assert_eq!(sells(&member, 7, 1, 'a', at(1)), Err(Refusal::NoFence));
        read(&mut member, [fence(7, 3, 'b'), fence(7, 2, 'a'), fence(7, 1, 'a'), fence(6, 9, 'c'), fence(7, 3, 'a')]);
        assert_eq!(sells(&member, 7, 3, 'b', at(1)), Ok(()));
        for (sale_id, generation, of, refusal) in [
            (7, 2, 'a', Refusal::Behind),
            (6, 9, 'c', Refusal::Behind),
            (7, 4, 'b', Refusal::Ahead),
            (8, 1, 'b', Refusal::Ahead),
            (7, 3, 'a', Refusal::OtherRedis),
        ] {
            assert_eq!(sells(&member, sale_id, generation, of, at(1)), Err(refusal), "{sale_id} {generation} {of}");
        }
        read(&mut member, [FenceRecord::LetGo, fence(8, 1, 'd')]);
        assert_eq!(sells(&member, 8, 1, 'd', at(1)), Ok(()));
        assert_eq!(sells(&member, 7, 3, 'b', at(1)), Err(Refusal::Behind));
    }

    #[test]
    fn a_heartbeat_says_what_is_obeyed_and_what_is_drained() {
        let mut member = Member::new(OURS, Spans::SHIPPED);
        read(&mut member, [fence(7, 1, 'a'), fence(7, 2, 'b')]);
        member.handle_drained(1);
        let heartbeat = member.poll_heartbeat(at(5)).expect("one is due");
        let expected = Heartbeat { edge: OURS, beat: 1, obeyed: 2, drained: 1, timestamp: 5 };
        assert_eq!(heartbeat, expected);
        member.handle_drained(2);
        member.handle_drained(0);
        assert_eq!(member.poll_heartbeat(at(1005)).map(|next| (next.beat, next.drained)), Some((2, 2)));
    }

    #[test]
    fn of_another_log_nothing_is_believed_and_what_was_obeyed_stands() {
        let mut member = Member::new(OURS, Spans::SHIPPED);
        let (first, second) = (beat(&mut member, at(0)), beat(&mut member, at(1000)));
        read(&mut member, [fence(7, 2, 'b'), first]);
        member.handle_drained(2);
        member.handle_new_log();
        assert!(!member.is_current(at(1001).instant));
        read(&mut member, [second, fence(7, 1, 'a')]);
        assert!(!member.is_current(at(1001).instant), "written into the other one");
        let third = beat(&mut member, at(2000));
        let FenceRecord::Heartbeat(heartbeat) = &third else { unreachable!("a heartbeat") };
        assert_eq!((heartbeat.obeyed, heartbeat.drained), (2, 0));
        read(&mut member, [third]);
        assert_eq!(sells(&member, 7, 1, 'a', at(2001)), Err(Refusal::Behind));
    }

    #[test]
    fn strangers_are_counted_and_never_believed() {
        let mut member = Member::new(OURS, Spans::SHIPPED);
        let FenceRecord::Fence(fence) = fence(7, 1, 'a') else { unreachable!("a fence") };
        let (mut key, mut value) = (Vec::new(), Vec::new());
        fence.write_key(&mut key);
        fence.write_json(&mut value);
        assert!(member.handle_bytes(0, b"fence:p", Some(&value)).is_err());
        assert!(member.handle_bytes(1, &key, Some(b"{}")).is_err());
        assert_eq!((member.strangers(), member.read_to()), (2, 2));
        assert_eq!(member.permits(&product("p"), 7, 1, &redis('a')), Err(Refusal::NoFence));
        assert!(member.handle_bytes(2, &key, Some(&value)).is_ok());
        assert_eq!(member.permits(&product("p"), 7, 1, &redis('a')), Ok(()));
    }

    #[test]
    fn a_clock_that_stands_still_keeps_it_current_and_a_pause_ends_that() {
        let mut member = Member::new(OURS, Spans::SHIPPED);
        let own = beat(&mut member, at(10_000));
        read(&mut member, [own]);
        assert!(member.is_current(at(10_000).instant));
        assert!(!member.is_current(at(10_000).instant + Duration::from_secs(3600)));
    }
}
