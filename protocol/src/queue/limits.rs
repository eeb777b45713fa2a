//! Every bound of the fair queue, its unit in its name and its reason beside it. `edge/lua/fair_queue.lua` has the same.

/// One slot: users who come within the same second are equal. 150 ms of distance should cost nothing, a minute's delay
/// should.
pub const SLOT_US: u64 = 1_000_000;

/// Slots that may wait between the watermark and the end of the line. It bounds what Redis keeps and what `GET /queue`
/// carries (some 7 KB). Where a line is longer than so many seconds, its last slot takes all who come until it moves.
pub const SLOTS_MAX: u32 = 1024;

/// Empty slots that one call may pass, so that no call holds Redis up; a line of [`SLOTS_MAX`] is passed in 16.
pub const SLOTS_A_CALL_MAX: u32 = 64;

/// How many seconds' worth of tokens may have been called and be neither served nor missing. A page looks once a second
/// at a document that is a second old at most: with less, tokens would lie idle while those who were called find out; and
/// this is the most by which a visitor who comes in time can be overtaken.
pub const CALLED_SECONDS_MAX: u64 = 2;

/// A called visitor who waits for a token weighs as much as so many on the way: the first will certainly use a token,
/// and should be few, since a visitor who has come should be served soon. Half a second's worth stops all calling.
pub const READY_WEIGHT: u64 = 4;

/// How often a core asks for tokens while the bucket is empty and called visitors wait: if each asked as soon as a token
/// was due, the core nearest to Redis would get most of them.
pub const ASK_INTERVAL_US: u64 = 50_000;

/// Those who are called within one tick are a cohort: Redis counts for each how many were called and how many have come.
pub const COHORT_US: u64 = 250_000;

/// Cohorts that are waited for.
pub const TICKS: usize = 9;

/// Called visitors who have not come within this are not waited for (they are still welcome): the document's second, the
/// page's second and the way. Less, and others would be called in place of those who are on the way; more, and the line
/// waits longer for those who have left. See docs/QUEUE.md for what ten seconds would cost.
pub const PATIENCE_US: u64 = COHORT_US * TICKS as u64;

/// How long a called visitor waits at the edge for a token, first come first served, before they are sent to try again:
/// those who try again are served by chance, so few should have to.
pub const HOLD_US: u64 = 1_000_000;

/// Nobody waits with a called ticket in hand when tokens have lain idle for longer than a page waits before it tries
/// again: then the count of those who do is wrong, by visitors who left or were counted twice, and starts anew.
pub const IDLE_US: u64 = 1_500_000;

/// Slots whose issued tickets a core counts between two reports: it reports many times a second, and a slot is a second.
/// Beyond (Redis was away) what comes counts for the last of them.
pub const REPORT_SLOTS_MAX: usize = 4;

/// Registers of a [`Distinct`](super::Distinct), a byte each: an error of 2 % where thousands are counted, next to none
/// below a hundred.
pub const DISTINCT_REGISTERS: usize = 2048;

/// Users whose places a core remembers to be used up, 12 bytes each: a user who tries a used place again and again is
/// among the last; one who was forgotten costs one question to Redis and no token.
pub const TURNS_REMEMBERED: usize = 512;

/// How long two requests of one called visitor count as one: what it takes to open ten tabs and to try again.
pub const ARRIVALS_FORGOTTEN_US: u64 = 5_000_000;

/// How long a core's word that nobody waits counts, from before it asked: as long as the longest lease of tokens.
pub const FREE_US: u64 = 200_000;

/// How often a core reports and learns where the watermark stands while anybody waits, whether or not it wants tokens.
pub const REPORT_INTERVAL_US: u64 = 100_000;

/// When a called visitor who has waited for [`HOLD_US`] in vain is to try again.
pub const RETRY_US: u64 = 1_000_000;

const _: () = assert!(IDLE_US > RETRY_US, "a visitor who waits for a token has tried again before they count as gone");
const _: () =
    assert!(PATIENCE_US > CALLED_SECONDS_MAX * 1_000_000, "who looks as late as a page may is still waited for");
const _: () = assert!(REPORT_SLOTS_MAX as u64 * SLOT_US > 10 * REPORT_INTERVAL_US);
