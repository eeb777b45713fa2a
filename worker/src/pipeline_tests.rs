use super::*;
use crate::intake::IntakeConfig;
use crate::test_records::fetched;
use flux_protocol::kafka::group::LostReason;

const TOPIC: [u8; 16] = [3; 16];

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

/// Batches of three orders, or of what has waited for 20 ms.
fn pipeline() -> Pipeline {
    let config = IntakeConfig { batch_orders: 3, batch_wait: Duration::from_millis(20) };
    Pipeline::new(Intake::new("orders", config), at(0))
}

fn assigned(partitions: &[i32]) -> Event {
    Event::Assigned { topic_id: TOPIC, generation: 1, partitions: partitions.to_vec() }
}

fn from(partition: i32, offset: i64) -> Position {
    Position { partition, offset, leader_epoch: None }
}

fn commands(pipeline: &mut Pipeline, now: Instant) -> Vec<Command> {
    std::iter::from_fn(|| pipeline.poll_command(now)).collect()
}

/// One that reads these partitions from 0, at 0 ms.
fn reading(partitions: &[i32]) -> Pipeline {
    let mut pipeline = pipeline();
    pipeline.handle_event(at(0), assigned(partitions));
    claim_all(&mut pipeline, at(0), partitions, 0);
    pipeline
}

/// The ledger tells where these partitions stand, and they are read from there.
fn claim_all(pipeline: &mut Pipeline, now: Instant, partitions: &[i32], offset: i64) {
    let mut outcome = Outcome::GoesOn;
    for partition in partitions {
        assert_eq!(outcome, Outcome::GoesOn);
        assert!(matches!(pipeline.poll_job(now), Some(Job::Claim { partition: asked, .. }) if asked == *partition));
        outcome = pipeline.handle_claim(now, Ok(from(*partition, offset)));
    }
    let positions: Vec<Position> = partitions.iter().map(|partition| from(*partition, offset)).collect();
    assert_eq!(outcome, Outcome::Reading(positions.clone()));
    assert_eq!(commands(pipeline, now), [Command::Start(positions)]);
}

/// The batch that is handed out now, which must be one.
fn batch(pipeline: &mut Pipeline, now: Instant) -> Box<Batch> {
    match pipeline.poll_job(now) {
        Some(Job::Store(batch)) => batch,
        other => panic!("{other:?} is no batch"),
    }
}

fn lost() -> LedgerError {
    LedgerError::Lost("gone".to_owned())
}

fn away() -> StoreError {
    StoreError::Retry(lost())
}

/// One with a full batch of partition 0 at the ledger since 0 ms.
fn storing() -> (Pipeline, Box<Batch>) {
    let mut pipeline = reading(&[0]);
    assert_eq!(pipeline.handle_records(at(0), fetched(0, 0, 3)), None);
    let batch = batch(&mut pipeline, at(0));
    assert_eq!((batch.first_offset(), batch.next_offset()), (0, 3));
    (pipeline, batch)
}

/// One whose batch waits for a ledger that is away: asked at 0 ms, to be asked again at 50 ms.
fn waiting() -> Pipeline {
    let (mut pipeline, batch) = storing();
    assert!(matches!(pipeline.handle_store(at(0), batch, Err(away())), Outcome::AskedAgain(_)));
    assert_eq!(pipeline.next_deadline(at(0)), at(0) + RETRY_WAIT_MIN);
    pipeline
}

#[test]
fn partitions_are_read_from_where_the_ledger_stands_all_at_once() {
    let mut pipeline = pipeline();
    assert!(pipeline.poll_job(at(0)).is_none());
    pipeline.handle_event(at(0), assigned(&[2, 5]));
    assert!(matches!(pipeline.poll_job(at(0)), Some(Job::Claim { topic_id: Uuid(TOPIC), partition: 2 })));
    assert!(pipeline.poll_job(at(9)).is_none(), "one question at a time");
    assert_eq!(pipeline.next_deadline(at(9)), Instant::FAR_FUTURE, "its answer is waited for, not the time");
    assert_eq!(pipeline.handle_claim(at(9), Ok(from(2, 7))), Outcome::GoesOn);
    assert_eq!(commands(&mut pipeline, at(9)), [], "a fetch waits for records: none is begun before all are known");
    assert!(matches!(pipeline.poll_job(at(9)), Some(Job::Claim { partition: 5, .. })));
    assert_eq!(pipeline.handle_claim(at(9), Ok(from(5, 0))), Outcome::Reading(vec![from(2, 7), from(5, 0)]));
    assert_eq!(commands(&mut pipeline, at(9)), [Command::Start(vec![from(2, 7), from(5, 0)])]);
}

#[test]
fn a_position_is_asked_for_again_and_what_is_known_is_kept() {
    let mut pipeline = pipeline();
    pipeline.handle_event(at(0), assigned(&[2, 5]));
    assert!(pipeline.poll_job(at(0)).is_some());
    assert_eq!(pipeline.handle_claim(at(0), Ok(from(2, 7))), Outcome::GoesOn);
    assert!(pipeline.poll_job(at(0)).is_some());
    let Outcome::AskedAgain(reason) = pipeline.handle_claim(at(0), Err(LedgerError::TooOld(13))) else {
        panic!("it is asked again")
    };
    assert!(reason.ends_with("(somebody has to mend this; it is asked again meanwhile)"), "{reason}");
    assert_eq!(pipeline.next_deadline(at(0)), at(0) + FATAL_WAIT);
    assert!(matches!(pipeline.poll_job(at(0) + FATAL_WAIT), Some(Job::Claim { partition: 5, .. })));
}

#[test]
fn positions_that_nobody_waits_for_are_not_asked_for() {
    let mut pipeline = pipeline();
    pipeline.handle_event(at(0), assigned(&[2, 5]));
    assert!(pipeline.poll_job(at(0)).is_some());
    pipeline.handle_event(at(1), Event::Lost(LostReason::UnknownMember));
    assert_eq!(pipeline.handle_claim(at(2), Ok(from(2, 7))), Outcome::Dropped(None));
    assert!(pipeline.poll_job(at(2)).is_none());
    assert_eq!(commands(&mut pipeline, at(2)), []);
}

#[test]
fn what_is_stored_is_told_to_kafka() {
    let (mut pipeline, batch) = storing();
    assert_eq!(pipeline.next_deadline(at(0)), Instant::FAR_FUTURE);
    let stored = Stored { orders: 3, ..Stored::default() };
    let took = Duration::from_millis(8);
    assert_eq!(
        pipeline.handle_store(at(8), batch, Ok(stored)),
        Outcome::Stored { partition: 0, next_offset: 3, stored, took }
    );
    assert_eq!(commands(&mut pipeline, at(8)), [Command::Commit { partition: 0, next_offset: 3 }]);
    assert_eq!(pipeline.lag(|_| Some(5)).collect::<Vec<_>>(), [(0, 2)]);
}

#[test]
fn a_batch_is_asked_again_with_pauses_that_grow_and_the_same_batch() {
    let (mut pipeline, mut asked) = storing();
    let mut now = at(0);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        assert!(matches!(pipeline.handle_store(now, asked, Err(away())), Outcome::AskedAgain(_)));
        let due = pipeline.next_deadline(now);
        pauses.push(due.since(now).as_millis());
        assert!(pipeline.poll_job(Instant::from_micros(due.as_micros() - 1)).is_none());
        now = due;
        asked = batch(&mut pipeline, now);
        assert_eq!((asked.first_offset(), asked.next_offset()), (0, 3));
    }
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
    // The tables are another matter, with pauses of their own; and what no waiting mends is asked seldom.
    let mut pauses = Vec::new();
    for error in [
        StoreError::Systematic(lost()),
        StoreError::Systematic(lost()),
        StoreError::Fatal(lost()),
        StoreError::Systematic(lost()),
    ] {
        pipeline.handle_store(now, asked, Err(error));
        let due = pipeline.next_deadline(now);
        pauses.push(due.since(now).as_millis());
        now = due;
        asked = batch(&mut pipeline, now);
    }
    assert_eq!(pauses, [500, 1000, 5000, 2000]);
    let outcome = pipeline.handle_store(now, asked, Ok(Stored::default()));
    assert!(matches!(outcome, Outcome::Stored { took, .. } if took == now.since(at(0))), "the pauses among it");
}

#[test]
fn a_rebalance_waits_until_what_is_in_hand_is_stored() {
    let (mut pipeline, first) = storing();
    assert_eq!(pipeline.handle_records(at(1), fetched(0, 3, 1)), None);
    pipeline.handle_event(at(2), Event::Release);
    assert!(!pipeline.wants_records());
    assert_eq!(commands(&mut pipeline, at(2)), [], "a batch is at the ledger, and one open");
    pipeline.handle_store(at(3), first, Ok(Stored::default()));
    let second = batch(&mut pipeline, at(3));
    assert_eq!(second.next_offset(), 4, "it does not wait to be full");
    let commit = |next_offset| Command::Commit { partition: 0, next_offset };
    assert_eq!(commands(&mut pipeline, at(3)), [commit(3)]);
    pipeline.handle_store(at(4), second, Ok(Stored::default()));
    assert_eq!(commands(&mut pipeline, at(4)), [commit(4), Command::Release]);
    assert_eq!(pipeline.partitions().count(), 0);
    assert_eq!(commands(&mut pipeline, at(5)), [], "it is said once");
}

#[test]
fn a_rebalance_does_not_wait_for_a_ledger_that_is_away() {
    let mut pipeline = waiting();
    pipeline.handle_event(at(2), Event::Release);
    assert_eq!(commands(&mut pipeline, at(2)), [Command::Release]);
    assert!(pipeline.poll_job(at(9999)).is_none(), "the batch is dropped; it is in Kafka still");
    // The next assignment begins anew.
    pipeline.handle_event(at(9999), assigned(&[0]));
    claim_all(&mut pipeline, at(9999), &[0], 0);
    pipeline.handle_records(at(9999), fetched(0, 0, 3));
    let batch = batch(&mut pipeline, at(9999));
    pipeline.handle_event(at(9999), Event::Release);
    assert_eq!(commands(&mut pipeline, at(9999)), [], "a ledger that has answered is waited for again");
    pipeline.handle_store(at(9999), batch, Ok(Stored::default()));
    assert_eq!(commands(&mut pipeline, at(9999)).last(), Some(&Command::Release));
}

#[test]
fn what_was_lost_is_not_told_to_kafka_whatever_the_ledger_says() {
    let (mut pipeline, batch) = storing();
    pipeline.handle_event(at(1), Event::Lost(LostReason::IllegalGeneration));
    assert!(matches!(
        pipeline.handle_store(at(2), batch, Ok(Stored::default())),
        Outcome::Stored { next_offset: 3, .. }
    ));
    assert_eq!(commands(&mut pipeline, at(2)), []);
    let (mut pipeline, batch) = storing();
    pipeline.handle_event(at(1), Event::TopicReplaced { was: TOPIC, is: [4; 16] });
    assert!(matches!(pipeline.handle_store(at(2), batch, Err(away())), Outcome::Dropped(Some(_))));
    assert!(pipeline.poll_job(at(9999)).is_none(), "it is not asked again");
}

#[test]
fn a_worker_that_is_told_to_end_stores_what_it_has_and_leaves() {
    let (mut pipeline, first) = storing();
    pipeline.handle_records(at(1), fetched(0, 3, 1));
    assert!(pipeline.handle_stop(at(2)));
    assert!(!pipeline.handle_stop(at(3)), "told once is told");
    assert!(!pipeline.wants_records());
    assert_eq!(commands(&mut pipeline, at(3)), []);
    pipeline.handle_store(at(4), first, Ok(Stored::default()));
    let second = batch(&mut pipeline, at(4));
    pipeline.handle_store(at(5), second, Ok(Stored::default()));
    assert_eq!(commands(&mut pipeline, at(5)).last(), Some(&Command::Leave));
    assert!(!pipeline.has_left());
    pipeline.handle_event(at(6), assigned(&[0, 1]));
    assert!(pipeline.poll_job(at(6)).is_none(), "what is assigned meanwhile is another's to read");
    pipeline.handle_event(at(7), Event::Left);
    assert!(pipeline.has_left());
}

#[test]
fn a_worker_that_is_told_to_end_waits_for_a_silent_ledger_so_long_and_for_one_that_is_away_not_at_all() {
    let (mut pipeline, batch) = storing();
    assert!(pipeline.handle_stop(at(2)));
    let end = at(2) + FLUSH_DEADLINE;
    assert_eq!(pipeline.next_deadline(at(2)), end);
    assert_eq!(commands(&mut pipeline, Instant::from_micros(end.as_micros() - 1)), []);
    assert_eq!(commands(&mut pipeline, end), [Command::Leave]);
    assert_eq!(pipeline.next_deadline(end), Instant::FAR_FUTURE);
    pipeline.handle_store(end, batch, Ok(Stored::default()));
    assert_eq!(commands(&mut pipeline, end), [], "too late to be told");

    let mut pipeline = waiting();
    assert!(pipeline.handle_stop(at(2)));
    assert_eq!(commands(&mut pipeline, at(2)), [Command::Leave]);
}

#[test]
fn a_fenced_partition_is_asked_for_anew_and_the_third_time_the_group_is_joined_anew() {
    let mut pipeline = reading(&[0]);
    for time in 1..=FENCED_IN_A_ROW_MAX {
        pipeline.handle_records(at(0), fetched(0, 0, 3));
        let batch = batch(&mut pipeline, at(0));
        let rejoins = time == FENCED_IN_A_ROW_MAX;
        assert_eq!(
            pipeline.handle_store(at(0), batch, Err(StoreError::Fenced { partition: 0, expected: 0 })),
            Outcome::Fenced { partition: 0, expected: 0, rejoins }
        );
        if rejoins {
            assert_eq!(commands(&mut pipeline, at(0)), [Command::Rejoin]);
            assert!(pipeline.poll_job(at(9999)).is_none());
        } else {
            assert_eq!(commands(&mut pipeline, at(0)), [Command::Pause(0)]);
            claim_all(&mut pipeline, at(0), &[0], 0);
        }
    }
}

#[test]
fn records_that_do_not_follow_are_dropped_and_the_position_asked_for_anew() {
    let mut pipeline = reading(&[0]);
    let gap = pipeline.handle_records(at(1), fetched(0, 5, 1));
    assert_eq!(gap, Some(Gap { partition: 0, expected: 0, found: 5 }));
    assert_eq!(commands(&mut pipeline, at(1)), [Command::Pause(0)]);
    claim_all(&mut pipeline, at(1), &[0], 0);
}

#[test]
fn a_partition_of_which_nothing_is_read_for_too_long_is_named() {
    let mut pipeline = pipeline();
    pipeline.handle_event(at(100), assigned(&[0, 1]));
    let late = at(100) + UNREAD_PATIENCE;
    let read = |partition: i32| (partition == 1).then(|| at(101));
    assert_eq!(pipeline.unread(Instant::from_micros(late.as_micros() - 1), read), [] as [i32; 0]);
    assert_eq!(pipeline.unread(late, read), [0], "counted from when it became ours");
    assert_eq!(pipeline.unread(late + Duration::from_millis(1), read), [0, 1]);
}

/// What was read under an assignment says nothing about the next, nor about the time between the two: while a rebalance waits for what
/// is in hand nothing is to be read, and the consumer has forgotten when it read last.
#[test]
fn a_rebalance_makes_no_partition_one_that_is_not_read() {
    let (mut pipeline, first) = storing();
    const NONE: [i32; 0] = [];
    let nothing_is_read = |_: i32| None;
    let read_now = |_: i32| Some(at(60_000));
    assert_eq!(pipeline.unread(at(60_000), read_now), NONE);
    pipeline.handle_event(at(60_000), Event::Release);
    assert_eq!(commands(&mut pipeline, at(60_000)), [], "a batch is at the ledger");
    assert_eq!(pipeline.unread(at(60_000), nothing_is_read), NONE, "it was read until a moment ago");
    let late = at(60_000) + UNREAD_PATIENCE;
    assert_eq!(pipeline.unread(Instant::from_micros(late.as_micros() - 1), nothing_is_read), NONE);
    assert_eq!(pipeline.unread(late, nothing_is_read), [0], "a release that takes so long is told");
    pipeline.handle_store(late, first, Ok(Stored::default()));
    assert_eq!(commands(&mut pipeline, late).last(), Some(&Command::Release));
    assert_eq!(pipeline.unread(late, nothing_is_read), NONE, "it is nobody's now");

    let assigned_at = at(80_000);
    pipeline.handle_event(assigned_at, assigned(&[0, 1]));
    assert_eq!(pipeline.unread(assigned_at, nothing_is_read), NONE);
    assert_eq!(pipeline.unread(assigned_at + UNREAD_PATIENCE, nothing_is_read), [0, 1], "counted from the assignment");
}
