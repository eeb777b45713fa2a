//! The fences as the first core of a process reads them, and the heartbeats that it writes beside them (docs/FENCE.md).
//!
//! What is read goes to the board, where every core finds it. Never sells, never refuses an order.

use flux_protocol::fence::{FenceLog, FenceLogConfig, FenceLogEvent, FenceRecord, Gone, Heartbeat, Member, Spans};
use flux_protocol::kafka::client::KafkaClient;
use flux_protocol::order::Uuid;
use flux_protocol::time::{Instant, Now};
use tracing::{debug, info, warn};

use crate::core::state::board::Board;
use crate::counters::Counters;

/// See the module.
#[derive(Debug)]
pub(crate) struct Fences {
    edge: Uuid,
    log: FenceLog,
    member: Member,
    /// Memory for a record's key.
    key: Vec<u8>,
    /// Its last word is written: it is gone.
    is_gone: bool,
    /// Why the topic cannot be read or written, as it was last told.
    told: Option<String>,
}

impl Fences {
    /// Of a process that has read nothing yet. `edge` is drawn for it and for no other.
    pub(crate) fn new(config: FenceLogConfig, edge: Uuid, now: Now) -> Fences {
        Fences {
            edge,
            log: FenceLog::new(config, now.instant),
            member: Member::new(edge, Spans::SHIPPED),
            key: Vec::new(),
            is_gone: false,
            told: None,
        }
    }

    /// Takes in what was read, and writes the heartbeat that is due.
    pub(crate) fn drive(&mut self, now: Now, board: &Board, counters: &Counters) {
        self.log.handle_time(now.instant);
        while let Some(event) = self.log.poll_event(now.instant) {
            match event {
                FenceLogEvent::Anew => {
                    warn!(
                        topic = self.log.topic(),
                        "the fences are read anew: their topic is another one, or was cut off"
                    );
                    self.member.handle_new_log();
                    board.fences.handle_new_log();
                }
                FenceLogEvent::Record { offset, key, value } => {
                    match self.member.handle_bytes(offset, &key, value.as_deref()) {
                        Ok(FenceRecord::Fence(fence)) => {
                            if let Some(standing) = self.member.standing(&fence.product) {
                                board.note_fence(fence.product, standing);
                            }
                        }
                        Ok(FenceRecord::Heartbeat(_) | FenceRecord::Gone(_) | FenceRecord::LetGo) => {}
                        Err(error) => debug!(offset, %error, "a record among the fences is none of ours"),
                    }
                }
            }
        }
        board.fences.note_read(self.member.read_to(), self.member.current_until());
        self.member.handle_drained(board.fences.drained_to());
        if self.log.is_writable() && !self.is_gone {
            self.write_due(now, board);
        }
        let figures = &counters.fences;
        figures.is_current.set(u64::from(self.member.is_current(now.instant)));
        figures.read_to.set(self.member.read_to().cast_unsigned());
        figures.strangers.set(self.member.strangers());
        figures.left_out.set(self.member.left_out());
    }

    /// Whether nothing more is to be said of this process: its last word has left, or cannot.
    pub(crate) fn have_left(&self) -> bool {
        !self.log.is_writable() || (self.is_gone && self.log.records_under_way() == 0)
    }

    /// Why the topic cannot be read or written: once as long as it is the same.
    pub(crate) fn tell(&mut self) {
        let refusal = self.log.refusal();
        if self.told == refusal {
            return;
        }
        match &refusal {
            Some(why) => info!(
                why,
                "the fences cannot be read: a sale of a Redis that replicas may take over is neither opened nor sold"
            ),
            None => info!(topic = self.log.topic(), "the fences can be read"),
        }
        self.told = refusal;
    }

    fn write_due(&mut self, now: Now, board: &Board) {
        if board.fences.have_all_left() {
            let gone = Gone { edge: self.edge, beat: self.member.beat() };
            self.is_gone = true;
            return self.write(now, |value| gone.write_json(value));
        }
        if let Some(heartbeat) = self.member.poll_heartbeat(now) {
            self.write(now, |value| heartbeat.write_json(value));
        }
    }

    fn write(&mut self, now: Now, value: impl FnOnce(&mut Vec<u8>)) {
        self.key.clear();
        Heartbeat::write_key(self.edge, &mut self.key);
        if let Err(error) = self.log.write(now, &self.key, value) {
            // It is not read back then, and makes nobody current.
            debug!(%error, "a heartbeat could not be written");
        }
    }

    /// The topic, for its sockets.
    pub(crate) fn log(&mut self) -> &mut FenceLog {
        &mut self.log
    }

    /// When [`Fences::drive`] is due.
    pub(crate) fn next_deadline(&self) -> Instant {
        let is_writing = self.log.is_writable() && !self.is_gone;
        let heartbeat = if is_writing { self.member.next_deadline() } else { Instant::FAR_FUTURE };
        self.log.next_deadline().min(heartbeat)
    }
}
