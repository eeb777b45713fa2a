// One order, from the button to the ledger: how it is written down, and how it is repeated until an answer is final
// (answer.js says which is). Never touches the page, the network or a clock: `io` does (browser.js). Never sends one
// order under two keys.
//
// io: send(order), look(product), status(product, orderId), ledger(product, orderId) or null: what came back, as
//     answer.js takes it; they throw where there is no answer
//     now(), random(), rest(ms), isOnline(), untilOnline()

import { isTicket, readAnswer, readLedger, readSale, readStatus } from './answer.js';
import * as line from './line.js';

const IDENTIFIER = /^(?!\.{1,2}$)[A-Za-z0-9._:-]{1,64}$/;
const QUANTITY_MAX = 1000;
// Over so long a crowd without tickets spreads its first tries after the opening.
const OPENING_SPREAD_MS = 3_000;
// Called visitors come one by one already: theirs need no long pauses.
const CALLED_PAUSE_MS_MAX = 3_000;
// Networks come back for many at once.
const ONLINE_SPREAD_MS = 2_000;
// How often the sale is looked at while the order is only being repeated: the first time, and every so many tries.
const LOOK_EVERY_TRIES = 3;
// After so many questions about a reserved order that the edge did not answer, a repeat of the order asks: it may get through.
const STATUS_TRIES_MAX = 4;

// The kinds of steps after which nothing is left to try.
export const ENDS = new Set(['accepted', 'stored', 'rejected', 'sold_out', 'closed', 'insufficient', 'limit_reached', 'refused']);

export const isIdentifier = (text) => IDENTIFIER.test(text);

// The order travels between the pages in the fragment, which no browser sends to a server.
export function toFragment({ product, user, quantity, key, ticket, owed }) {
  return `#${new URLSearchParams({ product, user, quantity, key, ...(ticket ? { ticket } : {}), ...(owed ? { owed: 1 } : {}) })}`;
}

// The order that a fragment holds, or null where it holds none that the edge would take.
export function fromFragment(fragment) {
  const fields = new URLSearchParams(fragment.replace(/^#/, ''));
  return sound({
    product: fields.get('product'),
    user: fields.get('user'),
    quantity: Number(fields.get('quantity') ?? 1),
    key: fields.get('key'),
    ticket: fields.get('ticket'),
    owed: fields.has('owed'),
  });
}

// The order itself where the edge would take it, else null. Also asked of what a browser has kept. `owed`: an earlier
// try, whose answer is unknown, may have sold it, so only an answer of the edge ends it.
export function sound(order) {
  const { product, user, quantity, key, ticket, seedHash, ahead, owed } = order ?? {};
  const whole = Number.isInteger(quantity) && quantity >= 1 && quantity <= QUANTITY_MAX;
  if (![product, user, key].every((text) => typeof text === 'string' && isIdentifier(text)) || !whole) return null;
  const place = isTicket(ticket) ? { ticket, seedHash } : {};
  const shown = place.ticket && Number.isInteger(ahead) && ahead > 0 ? { ahead } : {};
  return { product, user, quantity, key, ...place, ...shown, ...(owed ? { owed: true } : {}) };
}

// How many ms there are until the sale opens; 0 where it has opened.
export function untilOpening(sale, now) {
  return Math.max(0, sale.opensAt - now);
}

// Stands in line with a ticket. Yields where the order stands; returns what there is to do: 'called' (order), 'ask' (no line is
// seen that this ticket belongs to, or only an answer can end it: order too), or the step that ends the matter.
async function* stand(order, io) {
  const place = line.placeOf(order.ticket);
  let looks = [];
  for (let failures = 0; ; ) {
    let sale;
    try {
      sale = readSale(await io.look(order.product));
      if (sale?.state !== 'suspended') failures = 0;
    } catch {
      yield* without(io, line.pause(failures, 0, io.random));
      failures += 1;
      continue;
    }
    if (sale?.state === 'suspended') {
      const next = line.pause(failures, 0, io.random);
      failures += 1;
      yield { kind: 'suspended', nextTry: io.now() + next, order };
      await io.rest(next);
      continue;
    }
    if (!sale?.fair || place === null) return 'ask';
    // A ticket of an earlier sale says nothing in this one.
    if (order.seedHash && order.seedHash !== sale.seedHash) return 'ask';
    // The sale was replaced between the answer that brought the ticket and this first look.
    const isOfAnother = !order.seedHash && !line.hasBegun(place, sale);
    order.seedHash = sale.seedHash;
    if (isOfAnother) return 'ask';
    if (sale.state === 'sold_out' || sale.state === 'closed') return order.owed ? 'ask' : { kind: sale.state };
    const left = untilOpening(sale, io.now());
    if (left > 0) {
      const next = line.countdownPause(left, io.random);
      yield { kind: 'countdown', opensAt: sale.opensAt, fair: true, order };
      await io.rest(next);
      continue;
    }
    if (line.isCalled(place, sale.watermark)) return 'called';
    // Kept with the order: a reload shows no greater number than was shown before it.
    const ahead = line.shownPosition(place, sale, order.ahead ?? null);
    if (ahead === null) {
      yield { kind: 'line', position: null, perSecond: sale.rate, expectedMs: null, available: sale.available, order };
      await io.rest(line.lookPause(0, io.random));
      continue;
    }
    order.ahead = ahead;
    looks = line.withLook(looks, sale.now, ahead);
    const speed = line.perSecond(looks, sale.rate);
    const expected = line.expectedMs(ahead, speed);
    yield { kind: 'line', position: ahead, perSecond: speed, expectedMs: expected, available: sale.available, order };
    await io.rest(line.lookPause(expected, io.random));
  }
}

// No answer: either this machine has no network, and nothing is tried until it has, or the shop cannot be reached.
async function* without(io, next, kind = 'unreachable') {
  if (io.isOnline()) {
    yield { kind, nextTry: io.now() + next };
    await io.rest(next);
    return;
  }
  yield { kind: 'offline' };
  await io.untilOnline();
  await io.rest(ONLINE_SPREAD_MS * io.random());
}

// After a 429 without a ticket: until the sale opens if it has not, else for a growing pause. Returns the step that ends the
// matter where the sale is over and the order cannot have been sold: over the limit only a look tells.
async function* retryLater(order, io, outcome, tries) {
  if (tries % LOOK_EVERY_TRIES === 0) {
    const sale = await io.look(order.product).then(readSale).catch(() => null);
    if (!order.owed && (sale?.state === 'sold_out' || sale?.state === 'closed')) return { kind: sale.state };
    for (let left = sale ? untilOpening(sale, io.now()) : 0; left > 0; left = sale.opensAt - io.now()) {
      yield { kind: 'countdown', opensAt: sale.opensAt, fair: false, order };
      // The crowd of a sale without tickets comes as the doors open, but not all in one millisecond.
      await io.rest(Math.min(left, 30_000) + (left <= 30_000 ? OPENING_SPREAD_MS * io.random() : 0));
      if (sale.opensAt <= io.now()) return null;
    }
  }
  const next = line.pause(tries, outcome.retryAfter, io.random);
  yield { ...outcome, nextTry: io.now() + next, order };
  await io.rest(next);
  return null;
}

// Tries the order under its one key until something ends the matter; yields where it stands after every step, the last one
// being the end. Steps carry `order`, with the ticket that it has got meanwhile: keep it. A step 'sending' has the order as it is
// to be kept while a try is under way, for a page may be left before the answer.
export async function* pursue(first, io) {
  const order = { ...first };
  for (let tries = 0; ; tries += 1) {
    const due = order.ticket ? yield* stand(order, io) : 'ask';
    if (typeof due !== 'string') {
      yield due;
      return;
    }
    if (due === 'called') yield { kind: 'called', order };
    yield { kind: 'sending', order: { ...order, owed: true } };
    let outcome;
    try {
      outcome = readAnswer(await io.send(order), order.owed);
    } catch {
      order.owed = true;
      yield* without(io, line.pause(tries, 0, io.random), 'unknown');
      continue;
    }
    if (ENDS.has(outcome.kind)) {
      yield { ...outcome, order };
      return;
    }
    // A reserved order, or one whose outcome is unknown, is not given up because others bought the rest. A 429 or 503
    // says nothing of a try before it.
    if (outcome.kind === 'pending' || outcome.kind === 'unknown') order.owed = true;
    if (outcome.kind === 'pending') {
      const confirmed = yield* confirm(order, outcome.orderId, io, tries);
      if (confirmed) return;
    } else if (outcome.kind === 'waiting' && outcome.ticket) {
      // A first ticket is looked at at once; a buyer who is called and refused, or gets another one, comes back a
      // little later.
      const next = order.ticket ? line.pause(tries, outcome.retryAfter, io.random, CALLED_PAUSE_MS_MAX) : 0;
      const seedHash = outcome.ticket === order.ticket ? order.seedHash : undefined;
      // A place that was used up is followed by one farther back: what was shown of it says nothing of this one.
      if (!line.isSamePlace(outcome.ticket, order.ticket)) delete order.ahead;
      Object.assign(order, { ticket: outcome.ticket, seedHash });
      yield { ...outcome, nextTry: io.now() + next, order };
      await io.rest(next);
    } else if (outcome.kind === 'waiting') {
      // The place is given up only where the sale, too, was seen to have no line.
      if (due === 'ask') {
        delete order.ticket;
        delete order.ahead;
      }
      const end = yield* retryLater(order, io, outcome, tries);
      if (end) {
        yield end;
        return;
      }
    } else {
      const next = line.pause(tries, outcome.retryAfter, io.random);
      yield { ...outcome, nextTry: io.now() + next, order };
      await io.rest(next);
    }
  }
}

// Follows a reserved order until Kafka has it; whether it does. It returns without where the edge knows no such order any
// more, or does not answer: a repeat tells.
async function* confirm(order, orderId, io, before) {
  for (let tries = before, unanswered = 0; unanswered < STATUS_TRIES_MAX; tries += 1) {
    const next = line.pause(tries, 1, io.random);
    yield { kind: 'pending', orderId, nextTry: io.now() + next, order };
    await io.rest(next);
    const answer = await io.status(order.product, orderId).catch(() => null);
    const status = answer && readStatus(answer, orderId);
    if (status === 'forgotten') return false;
    if (status === 'accepted') {
      yield { kind: 'accepted', orderId, order };
      return true;
    }
    unanswered = status === null ? unanswered + 1 : 0;
  }
  return false;
}

// Follows an accepted order into the ledger, where the page was told a worker's listener. The buyer need not wait for
// it.
export async function* follow(product, orderId, io) {
  if (!io.ledger) return;
  for (let tries = 0; ; tries += 1) {
    const answer = await io.ledger(product, orderId).catch(() => null);
    const told = answer && readLedger(answer, orderId);
    if (told) {
      yield { ...told, orderId };
      return;
    }
    await io.rest(line.pause(tries, 0, io.random));
  }
}
