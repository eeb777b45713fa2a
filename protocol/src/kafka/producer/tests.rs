//! The producer against a scripted cluster, under virtual time.

mod again;
mod batches;
mod brokers;
mod identity;
mod refused;
mod silence;
mod simulation;
mod topic;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::*;
use crate::kafka::fake::{BOOTSTRAP_PORT, Fake, TOPIC};

fn config() -> ProducerConfig {
    ProducerConfig {
        topic: TOPIC.to_owned(),
        bootstrap: vec![("broker".to_owned(), BOOTSTRAP_PORT + 1)],
        login: None,
        client_id: "test".to_owned(),
        linger: Duration::from_micros(500),
        batch_bytes_max: 10_000,
        in_flight_max: 5,
        request_timeout: Duration::from_secs(3),
        records_max: 1000,
        record_age_max: Duration::from_secs(10),
        seed: 3,
    }
}

struct Bench {
    fake: Fake,
    producer: Producer<u32>,
    next: u32,
    outcomes: BTreeMap<u32, Settled>,
}

impl Bench {
    fn new(nodes: i32, partitions: i32) -> Bench {
        Bench::with(Fake::new(nodes, partitions), config())
    }

    fn with(fake: Fake, config: ProducerConfig) -> Bench {
        let producer = Producer::new(config, fake.now);
        let mut bench = Bench { fake, producer, next: 0, outcomes: BTreeMap::new() };
        bench.pass(0);
        bench
    }

    fn started(nodes: i32, partitions: i32) -> Bench {
        let bench = Bench::new(nodes, partitions);
        assert!(bench.producer.ready());
        bench
    }

    /// Lets some time pass and takes in every outcome: each token comes back once.
    fn pass(&mut self, millis: u64) {
        self.fake.pass(millis, &mut self.producer);
        let mut tokens = Vec::new();
        while let Some(settled) = self.producer.poll_settled(&mut tokens) {
            assert!(!tokens.is_empty());
            for token in &tokens {
                assert_eq!(self.outcomes.insert(*token, settled), None, "settled twice");
            }
        }
    }

    fn append(&mut self, partition: i32) -> u32 {
        let token = self.next;
        self.next += 1;
        let write = |out: &mut Vec<u8>| out.extend_from_slice(value(token).as_bytes());
        self.producer.append(self.fake.now, partition, 5, token, write).unwrap();
        token
    }

    /// One batch of `records` to `partition`, sent.
    fn batch(&mut self, partition: i32, records: u32) -> Vec<u32> {
        let tokens = (0..records).map(|_| self.append(partition)).collect();
        self.pass(1);
        tokens
    }

    fn outcomes(&self, tokens: &[u32]) -> Vec<Option<Settled>> {
        tokens.iter().map(|token| self.outcomes.get(token).copied()).collect()
    }

    fn assert_all(&self, tokens: &[u32], settled: Settled) {
        assert_eq!(self.outcomes(tokens), vec![Some(settled); tokens.len()]);
    }

    fn log(&self, partition: i32) -> Vec<String> {
        self.fake.log(partition).to_vec()
    }

    fn script(&mut self, partition: i32, codes: &[i16]) {
        self.fake.produce_codes.insert(partition, VecDeque::from(codes.to_vec()));
    }
}

fn value(token: u32) -> String {
    format!("value-{token}")
}

fn values(tokens: &[u32]) -> Vec<String> {
    tokens.iter().map(|token| value(*token)).collect()
}
