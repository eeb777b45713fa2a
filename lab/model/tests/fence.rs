//! The protocol of the fence, explored to the end within the bounds of each scenario; and each planted bug, which must be found
//! in the scenario that it is meant for. What was explored, and how many states: the crate's own documentation.

use flux_model::{
    Begins, Bug, COMES_TO_REST, NO_OVERSELLING, NO_REJECTION, NO_WALK_BACK, SELLS, SELLS_AGAIN, SELLS_AGAIN_SOON,
    Scenario,
};
use stateright::{Checker, HasDiscoveries, Model};

/// Explores all of it. Nothing forbidden is reached, and everything that must be is.
fn holds(scenario: Scenario, reached: &[&str]) {
    let names: Vec<_> = scenario.properties().iter().map(|property| property.name).collect();
    for name in reached.iter().chain(&[NO_OVERSELLING, NO_REJECTION, NO_WALK_BACK]) {
        assert!(names.contains(name), "{name} is not looked at");
    }
    assert_eq!(names.contains(&COMES_TO_REST), scenario.rests);
    let checker = scenario.checker().spawn_dfs().join();
    println!("{} states, {} of them different", checker.state_count(), checker.unique_state_count());
    checker.assert_properties();
}

/// Looks for the bug's harm, which must be one of these, and prints the shortest way there.
fn catches(bug: Bug, scenario: Scenario, harms: &[&str]) {
    let checker = scenario.with(bug).checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let discoveries = checker.discoveries();
    assert!(!discoveries.is_empty(), "{bug:?} was not found in {} states", checker.unique_state_count());
    for (name, path) in discoveries {
        println!("{bug:?}: not \"{name}\": {:?}", path.into_actions());
        assert!(harms.contains(&name), "{bug:?} was meant to do other harm");
    }
}

#[test]
fn a_failover_under_two_edges() {
    holds(Scenario::failover(), &[SELLS, SELLS_AGAIN, SELLS_AGAIN_SOON, COMES_TO_REST]);
}

#[test]
fn every_message_of_one_edge() {
    holds(Scenario::every_message(), &[SELLS, SELLS_AGAIN, SELLS_AGAIN_SOON, COMES_TO_REST]);
}

#[test]
fn two_rebuilds_at_once_each_left_at_any_step() {
    holds(Scenario::two_rebuilds(), &[SELLS, SELLS_AGAIN, SELLS_AGAIN_SOON, COMES_TO_REST]);
}

#[test]
fn a_compacted_topic_and_an_edge_that_starts_anew() {
    holds(Scenario::compacted(), &[SELLS, SELLS_AGAIN]);
}

#[test]
fn an_edge_that_others_took_for_gone() {
    holds(Scenario::gone(), &[SELLS, SELLS_AGAIN, SELLS_AGAIN_SOON, COMES_TO_REST]);
}

#[test]
fn a_first_sale_opened_on_two_masters_at_once() {
    holds(Scenario::opening(), &[SELLS]);
}

#[test]
fn a_rolling_restart_with_a_sale_of_the_version_before() {
    holds(Scenario::upgrade(Begins::Unfenced), &[SELLS, SELLS_AGAIN]);
}

#[test]
fn a_rolling_restart_with_a_sale_of_this_version() {
    holds(Scenario::upgrade(Begins::Fenced), &[SELLS, SELLS_AGAIN, SELLS_AGAIN_SOON]);
}

/// A test for each bug: its name, the scenario, the harm.
macro_rules! found {
    ($($name:ident: $bug:ident, $scenario:expr, $($harm:ident)|+;)+) => {
        $(#[test]
        fn $name() {
            catches(Bug::$bug, $scenario, &[$($harm),+]);
        })+
    };
}

found! {
    a_fence_after_opening: FenceAfterOpening, Scenario::failover(), NO_REJECTION;
    currency_from_arrival: CurrencyFromArrival, Scenario::failover(), NO_REJECTION;
    any_other_fence_obeyed: AnyOtherFenceObeyed, Scenario::two_rebuilds(), NO_WALK_BACK | NO_REJECTION;
    a_heartbeat_without_acks_all: HeartbeatAcksOne, Scenario::failover(), NO_REJECTION;
    no_drain: NoDrain, Scenario::failover(), NO_REJECTION;
    a_script_that_ignores_the_replid: ScriptIgnoresReplid, Scenario::failover(), NO_OVERSELLING | NO_REJECTION;
    a_wait_too_short_for_drift: WaitTooShort, Scenario::failover(), NO_REJECTION;
    a_wait_from_when_the_fence_was_sent: WaitFromSending, Scenario::failover(), NO_REJECTION;
    gone_whatever_it_has_said_since: GoneWhateverItSaid, Scenario::gone(), NO_REJECTION;
    gone_too_soon: GoneTooSoon, Scenario::gone(), NO_REJECTION;
    one_fence_of_a_product_kept: KeyedByProduct, Scenario::compacted(), NO_WALK_BACK | NO_REJECTION;
    one_fence_of_a_generation_kept: KeyWithoutReplid, Scenario::opening(), NO_OVERSELLING | NO_REJECTION;
    an_equal_fence_replaces: EqualFenceReplaces, Scenario::opening(), NO_OVERSELLING | NO_REJECTION;
    a_fence_of_an_opening_that_comes_twice: OpeningFencedTwice, Scenario::opening(), NO_OVERSELLING | NO_REJECTION;
    absence_sells: AbsenceSells, Scenario::opening(), NO_OVERSELLING | NO_REJECTION;
    late_records_stored: LateRecordsStored, Scenario::failover(), NO_OVERSELLING | NO_REJECTION;
    answers_however_late: AnswersHoweverLate, Scenario::failover(), NO_REJECTION;
    an_edge_that_never_gives_up: NeverGivesUp, Scenario::every_message(), COMES_TO_REST;
    old_versions_sell_fenced_sales: OldVersionsSellFenced, Scenario::upgrade(Begins::Fenced), NO_REJECTION;
    nobodys_word_asked_for_an_unfenced_sale: UnfencedTrusted, Scenario::upgrade(Begins::Unfenced), NO_REJECTION;
    a_hurried_rebuild_of_an_unfenced_sale: UnfencedHurried, Scenario::upgrade(Begins::Unfenced), NO_REJECTION;
}
