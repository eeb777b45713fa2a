//! Makes sure at the start that the topic exists: waits for a broker, creates the topic where it is missing.
//!
//! Never changes a topic that exists.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::BytesMut;
use flux_net::{Clock, Notify, within};
use flux_protocol::kafka::admin::{Admin, AdminEvent, NewTopic, TopicDescription};
use flux_protocol::kafka::cluster::{BrokerAction, BrokerKey, ClusterConfig};
use flux_protocol::time::Instant;
use tracing::{debug, warn};

use crate::brokers::{BrokerSink, BrokerSource, Brokers};
use crate::config::Config;
use crate::health::Health;
use crate::limits::OBSERVE_INTERVAL;

struct Shared {
    clock: Clock,
    admin: RefCell<Admin>,
    turn: Notify,
}

impl BrokerSink for Shared {
    fn broker_opened(&self, broker: BrokerKey) {
        self.admin.borrow_mut().handle_broker_open(self.clock.instant(), broker);
        self.turn.notify();
    }

    fn broker_read(&self, broker: BrokerKey, buffer: &mut BytesMut) -> bool {
        let result = self.admin.borrow_mut().handle_broker_bytes(self.clock.instant(), broker, buffer);
        if let Err(error) = &result {
            warn!(%error, "a broker is not understood");
        }
        self.turn.notify();
        result.is_ok()
    }

    fn broker_closed(&self, broker: BrokerKey) {
        self.admin.borrow_mut().handle_broker_closed(self.clock.instant(), broker);
        self.turn.notify();
    }
}

/// The machine with the time at which it is polled.
struct Source<'a>(&'a mut Admin, Instant);

impl BrokerSource for Source<'_> {
    fn poll_action(&mut self) -> Option<BrokerAction> {
        self.0.poll_action()
    }

    fn poll_broker_write(&mut self, broker: BrokerKey, out: &mut Vec<u8>) {
        self.0.poll_broker_write(self.1, broker, out);
    }
}

/// Waits until the topic is there, and makes it where it is missing.
///
/// # Errors
/// The process has no descriptor left for a timer.
pub async fn ensure(
    config: &Config,
    client_id: &str,
    seed: u64,
    health: &Health,
    clock: Clock,
) -> std::io::Result<TopicDescription> {
    let cluster = ClusterConfig {
        bootstrap: config.kafka.clone(),
        client_id: client_id.to_owned(),
        topic: config.topic.clone(),
        seed,
    };
    let in_sync = config.topic_replicas.saturating_sub(1).max(1);
    let new = NewTopic {
        partitions: i32::try_from(config.topic_partitions).unwrap_or(i32::MAX),
        replicas: i16::try_from(config.topic_replicas).unwrap_or(i16::MAX),
        settings: vec![
            ("min.insync.replicas".to_owned(), in_sync.to_string()),
            ("retention.ms".to_owned(), "-1".to_owned()),
            // A broker's own default may be another.
            ("retention.bytes".to_owned(), "-1".to_owned()),
            // By the brokers' clock: no edge's decides whether a record is taken.
            ("message.timestamp.type".to_owned(), "LogAppendTime".to_owned()),
        ],
    };
    let shared = Rc::new(Shared {
        clock,
        admin: RefCell::new(Admin::new(cluster, Some(new), clock.instant())),
        turn: Notify::new(),
    });
    let mut brokers = Brokers::new(Rc::<Shared>::clone(&shared));
    loop {
        let span = {
            let now = clock.instant();
            let mut admin = shared.admin.borrow_mut();
            admin.handle_time(now);
            while let Some(event) = admin.poll_event() {
                match event {
                    AdminEvent::Found(topic) => {
                        drop(admin);
                        brokers.close();
                        return Ok(topic);
                    }
                    AdminEvent::Missing => debug!("the topic is missing"),
                    AdminEvent::Refused { code, message } => {
                        warn!(code, message, "the brokers refuse the topic; asked again");
                    }
                }
            }
            brokers.turn(&mut Source(&mut admin, now));
            admin.next_deadline().since(now)
        };
        health.kafka.fails(clock.instant(), "no broker has told of the topic yet");
        within(span.min(OBSERVE_INTERVAL), shared.turn.notified()).await?;
    }
}
