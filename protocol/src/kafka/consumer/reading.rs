//! A consumer's reading: records from the leaders of its partitions, and where those end.
//!
//! Never decides which partitions are read, or from where.

use std::collections::VecDeque;
use std::time::Duration;

use kafka_protocol::messages::ListOffsetsRequest;

use super::config::ConsumerConfig;
use super::event::Event;
use super::token::{ANSWER_SLACK, ANSWER_TIMEOUT, Token, UNSUPPORTED_VERSION};
use crate::kafka::cluster::{Cluster, Lane, Target};
use crate::kafka::connection::{Answer, RequestError, RequestLimits};
use crate::kafka::end_offsets::EndOffsets;
use crate::kafka::fetch::{FetchConfig, FetchEvent, FetchId, Fetcher, Isolation, Position};
use crate::kafka::limits::FRAME_BYTES_MAX;
use crate::kafka::metadata::{NodeId, TopicId};
use crate::time::Instant;

/// Longest fetch answer taken: one batch comes whole whatever the fetch allows, and brokers may be configured for large ones.
const FETCH_ANSWER_BYTES_MAX: usize = 64 << 20;

const _: () = assert!(FETCH_ANSWER_BYTES_MAX <= FRAME_BYTES_MAX);

/// See the module.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) fetcher: Fetcher,
    pub(super) ends: EndOffsets,
    /// The topic's id while partitions are assigned.
    topic_id: Option<TopicId>,
    fetch_wait: Duration,
    answer_bytes_max: usize,
}

impl Reading {
    /// Of no partition yet.
    pub(super) fn new(config: &ConsumerConfig) -> Reading {
        let fetcher = Fetcher::new(FetchConfig {
            isolation: Isolation::Committed,
            answer_bytes_min: 1,
            answer_bytes_max: config.answer_bytes_max,
            buffered_bytes_max: config.buffered_bytes_max,
            wait: config.fetch_wait,
            seed: config.seed.wrapping_add(2),
        });
        Reading {
            fetcher,
            ends: EndOffsets::new(&config.topic),
            topic_id: None,
            fetch_wait: config.fetch_wait,
            answer_bytes_max: config.answer_bytes_max,
        }
    }

    /// Of which topic partitions are assigned.
    pub(super) fn topic(&self) -> Option<TopicId> {
        self.topic_id
    }

    /// These partitions may be started from now on, and it is looked where they end.
    pub(super) fn assign(&mut self, now: Instant, topic: TopicId, partitions: &[i32]) {
        self.topic_id = Some(topic);
        self.ends.watch(now, partitions);
    }

    /// Nothing is assigned any more.
    pub(super) fn stop(&mut self) {
        self.fetcher.stop_all();
        self.topic_id = None;
    }

    /// `false`: nothing is assigned, and nothing was started.
    pub(super) fn start(&mut self, now: Instant, positions: impl IntoIterator<Item = Position>) -> bool {
        if self.topic_id.is_none() {
            return false;
        }
        for position in positions {
            self.fetcher.start_at(now, position);
        }
        true
    }

    /// When [`Reading::drive`] is to be called at the latest.
    pub(super) fn next_deadline(&self, now: Instant) -> Instant {
        // A broker that is out of reach is not asked for ends: what is due then waits for a connection, as a fetch
        // does.
        let ends = Some(self.ends.next_deadline()).filter(|due| *due > now).unwrap_or(Instant::FAR_FUTURE);
        self.fetcher.next_deadline(now).min(ends)
    }

    /// Whether the answer was what its request and version ask for; `None`: it was lost.
    pub(super) fn handle_fetched(&mut self, now: Instant, id: FetchId, topic: TopicId, answer: Option<Answer>) -> bool {
        let Some(answer) = answer else {
            self.fetcher.handle_lost(now, id);
            return true;
        };
        let is_ok = self.fetcher.handle_answer(now, id, topic, answer.body).is_ok();
        for (partition, end) in self.fetcher.take_ends() {
            self.ends.tell(now, partition, end);
        }
        is_ok
    }

    /// Whether the answer was what its request and version ask for; `None`: it was lost.
    pub(super) fn handle_ends(
        &mut self,
        now: Instant,
        cluster: &mut Cluster<Token>,
        partitions: &[i32],
        answer: Option<&Answer>,
    ) -> bool {
        let Some(answer) = answer else {
            self.ends.handle_lost(now, partitions);
            return true;
        };
        let Ok(response) = answer.decode::<ListOffsetsRequest>() else {
            self.ends.handle_lost(now, partitions);
            return false;
        };
        if !self.ends.handle_answer(now, partitions, &response) {
            cluster.refresh_metadata(now);
        }
        true
    }

    /// Asks for what is due, as far as leaders can be reached; `coordinator` is kept connected besides them.
    pub(super) fn drive(
        &mut self,
        now: Instant,
        cluster: &mut Cluster<Token>,
        coordinator: Option<NodeId>,
        events: &mut VecDeque<Event>,
    ) {
        while let Some(event) = self.fetcher.poll_event() {
            events.push_back(match event {
                FetchEvent::OffsetOutOfRange { partition, offset } => Event::OffsetOutOfRange { partition, offset },
                FetchEvent::Diverged { partition, offset, end_offset } => {
                    Event::Diverged { partition, offset, end_offset }
                }
                FetchEvent::Damaged { partition, error } => Event::Damaged { partition, error },
                FetchEvent::Refused { partition, code } => Event::Refused { partition: Some(partition), code },
            });
        }
        if self.fetcher.take_metadata_stale() {
            cluster.refresh_metadata(now);
        }
        let Some(topic_id) = self.topic_id else {
            return;
        };
        // Those whose ends are asked for are leaders too, though nothing of theirs may be read yet.
        let led = self.fetcher.started().chain(self.ends.partitions());
        let mut nodes: Vec<NodeId> = led.filter_map(|partition| cluster.leader(partition)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        follow_leaders(now, cluster, &nodes, coordinator);
        nodes.retain(|node| cluster.is_ready(Target::Node(*node, Lane::DATA)));
        self.ask_ends(now, cluster, &nodes);
        let limits = RequestLimits {
            timeout: self.fetch_wait + ANSWER_SLACK,
            response_bytes_max: FETCH_ANSWER_BYTES_MAX.max(self.answer_bytes_max),
        };
        loop {
            let leader = |partition| cluster.leader(partition);
            let Some((node, id, request)) = self.fetcher.poll_fetch(now, topic_id, &nodes, leader) else {
                return;
            };
            let target = Target::Node(node, Lane::DATA);
            match cluster.request(now, target, &request, Token::Fetch(id, topic_id), limits) {
                Ok(_) => {}
                Err(RequestError::NotReady | RequestError::Full) => self.fetcher.handle_lost(now, id),
                Err(RequestError::Unsupported(_) | RequestError::Encode(_)) => {
                    events.push_back(Event::Refused { partition: None, code: UNSUPPORTED_VERSION });
                    self.fetcher.handle_lost(now, id);
                }
            }
        }
    }

    /// Asks these leaders where their partitions end, as far as that was not told lately.
    fn ask_ends(&mut self, now: Instant, cluster: &mut Cluster<Token>, nodes: &[NodeId]) {
        for node in nodes {
            let leads = |partition| cluster.leader(partition) == Some(*node);
            let Some((partitions, request)) = self.ends.poll_request(now, leads) else { continue };
            let (target, limits) = (Target::Node(*node, Lane::DATA), RequestLimits::within(ANSWER_TIMEOUT));
            if cluster.request(now, target, &request, Token::Ends(partitions.clone()), limits).is_err() {
                self.ends.handle_lost(now, &partitions);
            }
        }
    }
}

/// Keeps a data connection to each leader and to the coordinator, and to no other broker.
fn follow_leaders(now: Instant, cluster: &mut Cluster<Token>, leaders: &[NodeId], coordinator: Option<NodeId>) {
    for node in leaders {
        cluster.connect(now, *node, Lane::DATA);
    }
    let is_spare = |node: &NodeId| !leaders.contains(node) && coordinator != Some(*node);
    let spare: Vec<NodeId> = cluster.connected_nodes(Lane::DATA).filter(is_spare).collect();
    for node in spare {
        cluster.disconnect(now, node, Lane::DATA);
    }
}
