//! Every planted bug is caught, by shapes that lead to it within a few seeds, and by drawn ones that nobody aimed; and the
//! programs that ship come through the same ones: what proves the simulation and its checker.

use flux_protocol::planted::{BUGS, Bug, plant};
use flux_simulation::random::Random;
use flux_simulation::scenario::aimed;
use flux_simulation::scenario::attempt::{attempt, attempt_shape};

/// Seeds within which a bug must be caught by a shape that was drawn for it.
const SEEDS_AIMED: u64 = 60;
/// And by drawn ones; from 0 on that is told by `make hunt`.
const SEEDS_DRAWN: u64 = 5000;

/// By which drawn seed each was found first (`make hunt`), so that the search is short. Where the programs or the shapes have
/// changed since, one behind it finds it.
const CAUGHT_BY: [(Bug, u64); 37] = [
    (Bug::CompensateOnTimeout, 20),
    (Bug::AcksOne, 0),
    (Bug::OffsetBeforeCommit, 0),
    (Bug::CheckThenSet, 0),
    (Bug::StockDefault, 315),
    (Bug::RelayWithoutClaim, 0),
    (Bug::LeaseNotExpired, 54),
    (Bug::ReplyToTheWrongRequest, 20),
    (Bug::ReplayLostWhenSoldOut, 1),
    (Bug::SettleBeforeAck, 0),
    (Bug::TrustAnyRedis, 5),
    (Bug::EntryGoneWithFirstOrder, 982),
    (Bug::ReturnedTwice, 30),
    (Bug::IdWithoutSale, 0),
    (Bug::OpensEarly, 5),
    (Bug::LimitForgotten, 7),
    (Bug::UsersNotRebuilt, 58),
    (Bug::EndlessLine, 14),
    (Bug::LineJumped, 14),
    (Bug::PlaceNotKept, 9),
    (Bug::WatermarkBack, 15),
    (Bug::RaisedIsInForce, 155),
    (Bug::CloseForgotten, 97),
    (Bug::DrainedToTheStable, 455),
    (Bug::PlaceNeverUsedUp, 15),
    (Bug::OlderSaleBelieved, 137),
    (Bug::WaiterForgotten, 17),
    (Bug::MovedRecordsForgotten, 982),
    (Bug::RetiredUnderWay, 66),
    (Bug::OldReturnTaken, 2054),
    (Bug::SecondReservationDropped, 2),
    (Bug::AgelessWitness, 923),
    (Bug::LeadersFromTheFirst, 217),
    (Bug::LeaseFromTheReply, 13),
    (Bug::AgelessReservations, 801),
    (Bug::LostRecordsBelieved, 1064),
    (Bug::LateRecordsStored, 986),
];

/// What is found wrong with this seed, if anything.
fn found(bug: Bug, seed: u64) -> Option<String> {
    let mut random = Random::new(seed);
    let shape = aimed::shape(bug, &mut random.fork())?;
    attempt_shape(shape, random).err()
}

/// With nothing planted.
fn is_healthy(run: impl FnOnce() -> Option<String>, bug: Bug) -> bool {
    plant(None);
    let found = run();
    plant(Some(bug));
    found.is_none()
}

#[test]
fn every_planted_bug_is_caught_where_a_shape_leads_to_it() {
    let mut missed = Vec::new();
    for bug in BUGS.into_iter().filter(|bug| aimed::shape(*bug, &mut Random::new(0)).is_some()) {
        plant(Some(bug));
        let caught = (0..SEEDS_AIMED).find_map(|seed| Some((seed, found(bug, seed)?)));
        plant(None);
        let Some((seed, what)) = caught else {
            missed.push(bug);
            continue;
        };
        println!("{bug:?} is caught with seed {seed}: {}", what.lines().next().unwrap_or_default().trim());
        for healthy in 0..=seed {
            assert_eq!(found(bug, healthy), None, "nothing is planted (seed {healthy} of {bug:?})");
        }
    }
    assert_eq!(missed, []);
}

#[test]
fn planted_bugs_are_caught_by_drawn_shapes() {
    let mut missed = Vec::new();
    for (bug, from) in CAUGHT_BY {
        plant(Some(bug));
        let caught = (from..from + SEEDS_DRAWN).find(|seed| {
            let is_caught = attempt(*seed).is_err();
            is_caught && is_healthy(|| attempt(*seed).err(), bug)
        });
        plant(None);
        match caught {
            Some(seed) => println!("{bug:?} is caught with drawn seed {seed}"),
            None => missed.push(bug),
        }
    }
    assert_eq!(missed, []);
}
