use super::*;
use crate::test_records::{fetched, orders, padded, values, written};
use flux_protocol::kafka::records_decode::FetchedRecords;
use flux_test_support::records::sealed;

const TOPIC: Uuid = Uuid([3; 16]);

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

fn intake() -> Intake {
    Intake::new("orders", IntakeConfig { batch_orders: 3, batch_wait: Duration::from_millis(20) })
}

/// An intake that holds these partitions, each read from 0.
fn holding(partitions: &[i32]) -> Intake {
    let mut intake = intake();
    intake.assigned(TOPIC, partitions);
    for claim in intake.take_claims() {
        assert!(intake.claimed(&claim, 0));
    }
    intake
}

fn span(batch: &Batch) -> (i32, i64, i64) {
    (batch.origin().partition, batch.first_offset(), batch.next_offset())
}

#[test]
fn a_full_batch_is_due_at_once_and_a_small_one_when_it_has_waited() {
    let mut intake = holding(&[0]);
    intake.offer(at(0), fetched(0, 0, 4));
    let batch = intake.take_due(at(0)).expect("full");
    assert_eq!(span(&batch), (0, 0, 3));
    assert!(intake.take_due(at(100)).is_none(), "one at the ledger");
    assert_eq!(intake.next_deadline(), Instant::FAR_FUTURE);
    assert!(intake.stored(at(1), intake.tenure(), &batch));
    assert!(intake.take_due(at(19)).is_none());
    assert_eq!(intake.next_deadline(), at(20));
    assert_eq!(span(&intake.take_due(at(20)).expect("it has waited")), (0, 3, 4));
}

#[test]
fn while_one_is_stored_the_next_fills_and_no_more_is_taken() {
    let mut intake = holding(&[0]);
    intake.offer(at(0), fetched(0, 0, 10));
    assert!(!intake.wants_records(), "what is in hand does not fit");
    let mut spans = Vec::new();
    let tenure = intake.tenure();
    for now in (0..).step_by(20).map(at).take(5) {
        if let Some(batch) = intake.take_due(now) {
            spans.push(span(&batch));
            intake.stored(now, tenure, &batch);
        }
    }
    assert_eq!(spans, [(0, 0, 3), (0, 3, 6), (0, 6, 9), (0, 9, 10)]);
    assert!(intake.wants_records());
    assert_eq!(intake.lag(|_| Some(12)).collect::<Vec<_>>(), [(0, 2)]);
    assert_eq!(intake.lag(|_| None).count(), 0, "what is not known is not 0");
    let mut asked = self::intake();
    asked.assigned(TOPIC, &[0]);
    assert_eq!(asked.lag(|_| Some(12)).count(), 0, "nor is what the ledger has not said");
}

/// Two partitions whose batches are always full and one that gets an order now and then: each has its turn.
#[test]
fn no_batch_waits_for_ever_behind_full_ones() {
    let mut intake = holding(&[0, 1, 2]);
    let mut next = [0, 0];
    intake.offer(at(0), fetched(2, 0, 1));
    for now in (20..200).step_by(20).map(at) {
        for partition in [0, 1] {
            if intake.wants_records() {
                intake.offer(now, fetched(partition, next[partition as usize], 3));
                next[partition as usize] += 3;
            }
        }
        let batch = intake.take_due(now).expect("there is always a full one");
        intake.stored(now, intake.tenure(), &batch);
        if batch.origin().partition == 2 {
            return;
        }
    }
    panic!("the small one was never stored");
}

#[test]
fn records_that_do_not_follow_those_before_them_are_not_taken() {
    let mut intake = holding(&[0]);
    assert_eq!(intake.offer(at(0), fetched(0, 0, 2)), None);
    let gap = Gap { partition: 0, expected: 2, found: 5 };
    assert_eq!(intake.offer(at(0), fetched(0, 5, 2)), Some(gap));
    assert!(intake.take_due(at(100)).is_none(), "nothing is stored past what is missing");
    let claims = intake.take_claims();
    assert_eq!(claims.iter().map(|claim| claim.partition).collect::<Vec<_>>(), [0], "the ledger says where to go on");
}

#[test]
fn records_that_are_no_orders_fill_a_batch_too() {
    let mut intake = holding(&[0]);
    intake.offer(at(0), values(0, 0, &vec![Vec::new(); 10]));
    assert_eq!(span(&intake.take_due(at(0)).expect("full")), (0, 0, 3));
}

#[test]
fn a_flush_stores_what_is_open_and_takes_nothing_more() {
    let mut intake = holding(&[0, 1]);
    intake.offer(at(0), fetched(0, 0, 5));
    let first = intake.take_due(at(0)).expect("full");
    intake.flush();
    assert!(!intake.wants_records());
    assert!(!intake.is_flushed());
    intake.stored(at(0), intake.tenure(), &first);
    let second = intake.take_due(at(0)).expect("no waiting in a flush");
    assert_eq!(span(&second), (0, 3, 5));
    assert!(!intake.is_flushed(), "it is at the ledger");
    intake.stored(at(0), intake.tenure(), &second);
    assert!(intake.is_flushed());
}

#[test]
fn answers_of_an_earlier_tenure_are_not_listened_to() {
    let mut intake = holding(&[0]);
    let tenure = intake.tenure();
    intake.offer(at(0), fetched(0, 0, 3));
    let batch = intake.take_due(at(0)).expect("full");
    intake.assigned(TOPIC, &[0]);
    let claims = intake.take_claims();
    assert!(!intake.stored(at(0), tenure, &batch));
    assert_eq!(intake.fenced(at(0), tenure, 0), None);
    intake.lost();
    assert!(!intake.claimed(&claims[0], 7));
    assert_eq!(intake.partitions().count(), 0);
}

#[test]
fn a_fenced_partition_is_claimed_anew_and_goes_on_from_there() {
    let mut intake = holding(&[0, 1]);
    intake.offer(at(0), fetched(0, 0, 5));
    let tenure = intake.tenure();
    let batch = intake.take_due(at(0)).expect("full");
    assert_eq!(intake.fenced(at(0), tenure, batch.origin().partition), Some(Fenced::ClaimAgain));
    assert!(intake.take_due(at(1000)).is_none(), "what was read behind the fenced batch is dropped");
    intake.offer(at(0), fetched(0, 5, 3));
    assert!(intake.take_due(at(1000)).is_none(), "so is what still comes from the old position");
    let claims = intake.take_claims();
    assert_eq!(claims.iter().map(|claim| claim.partition).collect::<Vec<_>>(), [0]);
    assert!(intake.claimed(&claims[0], 4));
    intake.offer(at(0), fetched(0, 4, 3));
    assert_eq!(span(&intake.take_due(at(0)).expect("full")), (0, 4, 7));
}

#[test]
fn fenced_again_and_again_means_that_two_hold_it() {
    let mut intake = holding(&[0]);
    let tenure = intake.tenure();
    for round in 1.. {
        intake.offer(at(0), fetched(0, 0, 3));
        let batch = intake.take_due(at(0)).expect("full");
        let fenced = intake.fenced(at(0), tenure, batch.origin().partition);
        if round == FENCED_IN_A_ROW_MAX {
            assert_eq!(fenced, Some(Fenced::Rejoin));
            return;
        }
        assert_eq!(fenced, Some(Fenced::ClaimAgain));
        let claims = intake.take_claims();
        intake.claimed(&claims[0], 0);
    }
}

#[test]
fn memory_is_bounded_over_all_partitions() {
    let mut intake = Intake::new("orders", IntakeConfig { batch_orders: 100_000, batch_wait: Duration::from_secs(9) });
    let partitions: Vec<i32> = (0..100).collect();
    intake.assigned(TOPIC, &partitions);
    for claim in intake.take_claims() {
        intake.claimed(&claim, 0);
    }
    let large = vec![vec![b'x'; 1 << 20]; 4];
    let mut taken = 0;
    for partition in partitions {
        if !intake.wants_records() {
            break;
        }
        intake.offer(at(0), values(partition, 0, &large));
        taken += 1;
    }
    assert_eq!(taken * (4 << 20), OPEN_BYTES_MAX, "no more is taken than fits");
    assert!(intake.take_due(at(0)).is_some(), "and room is made without waiting");
}

#[test]
fn an_unreadable_batch_is_kept_and_passed() {
    let mut intake = holding(&[0]);
    let mut fetched = values(0, 0, &[b"x".to_vec(), b"y".to_vec()]);
    // The same batch with a compression that does not exist, sealed anew.
    let content: Vec<u8> =
        [&[0, 7][..], &1i32.to_be_bytes(), &[0; 16], &[0xff; 14], &2i32.to_be_bytes(), b"??"].concat();
    fetched.records = FetchedRecords::scan(sealed(0, &content).into(), 0, Vec::new()).expect("its frame is whole");
    intake.offer(at(0), fetched);
    let batch = intake.take_due(at(1000)).expect("a dead letter is to be stored");
    assert_eq!(span(&batch), (0, 0, 2));
}

/// A few kilobytes that unpack to gigabytes hold up nobody for longer than a turn, and hold no more than what they say.
#[test]
fn unpacking_is_bounded_by_turn() {
    let mut intake = Intake::new("orders", IntakeConfig { batch_orders: 1000, batch_wait: Duration::from_millis(20) });
    intake.assigned(TOPIC, &[0]);
    for claim in intake.take_claims() {
        intake.claimed(&claim, 0);
    }
    const BATCHES: i64 = 40;
    const PADDING: usize = 4 << 20;
    assert_eq!(intake.offer(at(0), padded(BATCHES, PADDING)), None);
    let mut turns = 1;
    while intake.rests() {
        assert!(!intake.wants_records(), "it is gone on with before anything else is taken");
        intake.fill(at(0));
        turns += 1;
    }
    assert!(turns >= BATCHES as usize * PADDING / TURN_UNPACKED_BYTES_MAX, "{turns} turns of at most a batch's worth");
    let batch = intake.take_due(at(100)).expect("they have waited");
    assert_eq!(span(&batch), (0, 0, BATCHES));
    assert!(batch.bytes() < 1 << 20, "40 small records hold {} bytes", batch.bytes());
}

/// A batch that is cut in the middle of what a fetch brought is of the log that its own last record was read from.
#[test]
fn a_batch_knows_which_leader_wrote_its_last_record() {
    let mut intake = holding(&[0]);
    let mut log = Vec::new();
    for (epoch, from, count) in [(3i32, 0, 4), (4, 4, 2)] {
        let mut batch = written(from, &orders(0, from, count));
        batch[12..16].copy_from_slice(&epoch.to_be_bytes());
        log.extend_from_slice(&batch);
    }
    let records = FetchedRecords::scan(log.into(), 0, Vec::new()).expect("two batches");
    intake.offer(at(0), Fetched { partition: 0, from_offset: 0, records, end_offset: 6 });
    for (offsets, epoch, behind_the_first) in [((0, 3), 3, Some(3)), ((3, 6), 4, None)] {
        let batch = intake.take_due(at(1000)).expect("it is full");
        assert_eq!((batch.first_offset(), batch.next_offset()), offsets);
        assert_eq!(batch.span_leader_epoch(&batch.span()), Some(epoch));
        assert_eq!(batch.span_leader_epoch(&(0..1)), behind_the_first);
        assert!(intake.stored(at(1000), intake.tenure(), &batch));
    }
}
