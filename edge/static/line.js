// The arithmetic of a line: where a ticket stands, how fast the line moves, when its turn comes, and how long to wait until
// the next look. Pure: no page, no network, no clock; times are milliseconds.

// A rank is 32 bits drawn by lot: that part of its second's tickets stands before it.
const RANKS = 2 ** 32;
// The speed is what the watermark did within this span: long enough to smooth its steps, short enough to notice a stop.
const SPEED_SPAN_MS = 60_000;
// Shorter than this, a difference says more about the steps than about the speed.
const SPEED_SPAN_MS_MIN = 4_000;
// Redis waits for a called visitor for 2.25 s (PATIENCE_US in protocol/src/queue/limits.rs), so near the front the page
// looks every second (as often as a cached document changes).
const LOOK_MS_MIN = 1_000;
const LOOK_MS_MAX = 10_000;
const COUNTDOWN_LOOK_MS_MAX = 60_000;
// For how long after a second has ended edges may still report tickets of it (SETTLING_US in
// protocol/src/queue/fair_queue.rs).
const SETTLING_MS = 300;
// How old a document may be for caches on its way, and an edge's clock beside Redis'.
const DOCUMENT_AGE_MS_MAX = 10_000;
// Browsers' clocks are compared with the shop's over so many looks.
const CLOCK_LOOKS_MAX = 20;

// The place that a ticket holds, {slot, rank}; null where the text is no ticket (24 bytes in base64url, of which the first two
// words are slot and rank; one bit of the slot is the edge's own). Only the edge can tell whether its signature is true; a false
// one is worth no more than none.
export function placeOf(ticket) {
  if (!/^[\w-]{32}$/.test(ticket ?? '')) return null;
  const bytes = atob(ticket.replaceAll('-', '+').replaceAll('_', '/'));
  const word = (at) => [0, 1, 2, 3].reduce((value, index) => value * 256 + bytes.charCodeAt(at + index), 0);
  return { slot: word(0) % 2 ** 31, rank: word(4) };
}

// Whether two tickets hold one place: the edge signs it anew once its holder has come.
export function isSamePlace(ticket, other) {
  const [a, b] = [placeOf(ticket), placeOf(other)];
  return a !== null && b !== null && a.slot === b.slot && a.rank === b.rank;
}

// Whether the watermark has passed a place: its holder may order.
export function isCalled(place, watermark) {
  return place.slot < watermark.slot || (place.slot === watermark.slot && place.rank < watermark.rank);
}

// About the how-manieth a place is among those not yet called; the first is 1. `issued` counts tickets by slot, from the
// watermark's on; within a slot lots are spread evenly.
export function position(place, { watermark, issued }) {
  const slots = place.slot - watermark.slot;
  const part = (count, rank) => ((count ?? 0) * rank) / RANKS;
  const whole = issued.slice(0, Math.max(0, slots)).reduce((sum, count) => sum + count, 0);
  return 1 + Math.max(0, Math.round(whole + part(issued[slots], place.rank) - part(issued[0], watermark.rank)));
}

// Whether a document has counted a place's second to its end. While edges still give and report tickets of that second,
// it is not known how many stand before one of them. Slot 0 ends when the sale opens, slot n with the sale's n-th
// second.
export function isCounted(place, { now, opensAt }) {
  return now >= opensAt + 1000 * place.slot + SETTLING_MS;
}

// Whether the second in which a place was given has begun in this document's sale, which is a few seconds old at most: if it has
// not, the place is another sale's.
export function hasBegun(place, { now, opensAt }) {
  return place.slot === 0 || now + DOCUMENT_AGE_MS_MAX >= opensAt + 1000 * (place.slot - 1);
}

// The number to show for a place: none (null) before its second was counted, and from then on one that only falls, although
// documents of two edges differ, reports come late, and a Redis that lost writes calls anew. `shown` is what was shown last.
export function shownPosition(place, sale, shown = null) {
  if (!isCounted(place, sale)) return shown;
  const ahead = position(place, sale);
  return shown === null ? ahead : Math.min(shown, ahead);
}

// Adds what a look showed to the looks before it, [{now, ahead}], and forgets what is too old to tell the speed of today.
export function withLook(looks, now, ahead) {
  if (looks.length > 0 && now <= looks.at(-1).now) return looks; // the same cached document again
  return [...looks.filter((look) => look.now >= now - SPEED_SPAN_MS), { now, ahead }];
}

// How many a second are called: as seen, or as the sale promises while too little has been seen.
export function perSecond(looks, rate) {
  const first = looks[0];
  const last = looks.at(-1);
  if (!last || last.now - first.now < SPEED_SPAN_MS_MIN) return rate;
  return Math.max(0, (1000 * (first.ahead - last.ahead)) / (last.now - first.now));
}

// When the turn comes, in ms from now; null while the line stands still.
export function expectedMs(ahead, speed) {
  return speed > 0 ? (1000 * ahead) / speed : null;
}

// How long until the next look at the line. Everybody reads the same cached document, at a moment of their own.
export function lookPause(expected, random) {
  const span = expected === null ? LOOK_MS_MAX : Math.min(LOOK_MS_MAX, Math.max(LOOK_MS_MIN, expected / 8));
  return span * (0.75 + random() / 2);
}

// How long until the next look before the sale opens: seldom while it is far away, and at the opening.
export function countdownPause(left, random) {
  if (left <= LOOK_MS_MIN) return Math.max(0, left);
  return Math.min(left, COUNTDOWN_LOOK_MS_MAX * (0.5 + random() / 2));
}

// What to add to a browser's clock to have the shop's. A document may be as old as its cache allows, so the freshest one, which
// shows the latest time, is the one to believe.
export function withClock(offsets, shopNow, browserNow) {
  return [...offsets.slice(1 - CLOCK_LOOKS_MAX), shopNow - browserNow];
}

export const clockOffset = (offsets) => (offsets.length === 0 ? 0 : Math.max(...offsets));

// How long to wait before an order is sent again: at least what the edge asks for, growing with each try up to `most`, and
// spread, so that a crowd sent away in one second does not come back in one second.
export function pause(attempt, retryAfterSeconds, random, most = 20_000) {
  const growing = Math.min(most, 1000 * 1.4 ** Math.min(attempt, 20));
  return 1000 * retryAfterSeconds + growing * (0.5 + random());
}
