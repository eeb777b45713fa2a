//! Sales that are sold under a fence: what a core asks the board before it sells, and what it says of orders once they are fenced
//! off.

use std::sync::Arc;
use std::time::Duration;

use flux_protocol::fence::{Replid, Standing};
use flux_protocol::order::Identifier;

use super::redis::SALE_ID;
use super::{Bench, config};
use crate::answer::{Answer, Unavailable};
use crate::core::state::board::Board;

const OURS: char = 'a';

fn replid(of: char) -> Replid {
    Replid::parse(of.to_string().repeat(40).as_bytes()).expect("an id")
}

/// A fence of "p".
fn fence(board: &Board, generation: u32, of: char) {
    let name = Identifier::new(b"p").expect("an identifier");
    board.note_fence(name, Standing { sale_id: SALE_ID, generation, replid: replid(of) });
}

/// A core beside a board, with an open sale of "p" that is sold under a fence.
fn bench() -> (Bench, Arc<Board>) {
    let board = Arc::<Board>::default();
    let bench = Bench::beside(config(), &board, 0, |redis| {
        let generation = &mut redis.sales.get_mut("p").expect("a sale")[3];
        *generation = format!("1 {}", replid(OURS).as_str());
    });
    (bench, board)
}

fn make_current(bench: &Bench, board: &Board) {
    board.fences.note_read(1, Some(bench.now + Duration::from_secs(5)));
}

fn answer(bench: &mut Bench, user: &str) -> Answer {
    let order = bench.order(user);
    bench.pass(100);
    bench.answers[&order].clone()
}

#[test]
fn it_is_sold_while_the_process_is_current_and_its_fence_is_the_highest() {
    let (mut bench, board) = bench();
    let fenced = Answer::Unavailable(Unavailable::Fenced);
    assert_eq!(answer(&mut bench, "a"), fenced, "nothing was read");
    make_current(&bench, &board);
    assert_eq!(answer(&mut bench, "a"), fenced, "there is no fence of it");
    fence(&board, 1, OURS);
    assert_eq!(answer(&mut bench, "a").status(), 200);
    let told = bench.redis.calls("reserve").pop().expect("a call");
    assert!(told.contains(&format!("1 {}", replid(OURS).as_str())), "{told:?}");
    bench.pass(5_000);
    let calls = bench.redis.calls("reserve").len();
    assert_eq!(answer(&mut bench, "b"), fenced, "it was not read back since");
    make_current(&bench, &board);
    fence(&board, 2, 'b');
    assert_eq!(answer(&mut bench, "b"), Answer::Unavailable(Unavailable::Suspended), "another sells it");
    assert_eq!(bench.redis.calls("reserve").len(), calls, "nothing was taken");
}

#[test]
fn an_order_whose_sale_is_fenced_off_while_it_is_published_is_told_nothing_certain_and_its_entry_stays() {
    let (mut bench, board) = bench();
    make_current(&bench, &board);
    fence(&board, 1, OURS);
    bench.broker.silent = true;
    let order = bench.order("a");
    bench.pass(100);
    assert_eq!(bench.answers.get(&order), None);
    fence(&board, 2, 'b');
    bench.broker.speak();
    bench.pass(100);
    assert_eq!(bench.answers[&order], Answer::Unknown);
    assert_eq!(bench.redis.calls("XDEL"), [] as [Vec<String>; 0]);
}

#[test]
fn a_sale_without_a_fence_asks_nobody() {
    let board = Arc::<Board>::default();
    let mut bench = Bench::beside(config(), &board, 0, |_| {});
    assert_eq!(answer(&mut bench, "a").status(), 200);
}

#[test]
fn a_redis_that_shows_an_earlier_generation_than_the_highest_fence_is_not_believed() {
    let (mut bench, board) = bench();
    make_current(&bench, &board);
    fence(&board, 1, OURS);
    assert_eq!(answer(&mut bench, "a").status(), 200);
    fence(&board, 2, OURS);
    bench.pass(2_000);
    let stock = bench.get("/stock/p");
    bench.pass(100);
    assert!(matches!(bench.answers[&stock], Answer::Stock { available: None, .. }), "{:?}", bench.answers[&stock]);
}
