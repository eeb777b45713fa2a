// One order, from the button to the books: how it is written down, what an answer means, and the way to an answer that ends
// the matter. Never touches the page, the network or a clock: `io` does (browser.js). Never sends one order under two keys.
//
// io: send(order), look(product), status(product, orderId), ledger(product, orderId) or null: what the edge said, as
//     {status, body, retryAfter}; they throw where there is no answer
//     now(), random(), rest(ms), isOnline(), untilOnline()

import * as line from './line.js';

const IDENTIFIER = /^(?!\.{1,2}$)[A-Za-z0-9._:-]{1,64}$/;
const TICKET = /^[\x21-\x7e]{1,512}$/;
const QUANTITY_MAX = 1000;
// Over so long a crowd without tickets spreads its first tries after the opening.
const OPENING_SPREAD_MS = 3_000;
// Called visitors come one by one already: theirs need no long pauses.
const CALLED_PAUSE_MS_MAX = 3_000;
// Networks come back for many at once.
const ONLINE_SPREAD_MS = 2_000;
// How often the sale is looked at while the order is only being repeated: the first time, and every so many tries.
const LOOK_EVERY_TRIES = 3;

// The kinds of steps after which nothing is left to try.
export const ENDS = new Set(['accepted', 'stored', 'rejected', 'sold_out', 'closed', 'insufficient', 'limit_reached', 'refused']);

export const isIdentifier = (text) => IDENTIFIER.test(text);
export const isTicket = (text) => TICKET.test(text);

// The order travels between the pages in the fragment, which no browser sends to a server.
export function toFragment({ product, user, quantity, key, ticket }) {
  return `#${new URLSearchParams({ product, user, quantity, key, ...(ticket ? { ticket } : {}) })}`;
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
  });
}

// The order itself where the edge would take it, else null. Also asked of what a browser has kept.
export function sound(order) {
  const { product, user, quantity, key, ticket, seedHash, ahead } = order ?? {};
  const whole = Number.isInteger(quantity) && quantity >= 1 && quantity <= QUANTITY_MAX;
  if (![product, user, key].every((text) => typeof text === 'string' && isIdentifier(text)) || !whole) return null;
  const place = typeof ticket === 'string' && isTicket(ticket) ? { ticket, seedHash } : {};
  const shown = place.ticket && Number.isInteger(ahead) && ahead > 0 ? { ahead } : {};
  return { product, user, quantity, key, ...place, ...shown };
}

// What the answer to an order means. Kinds that end nothing say what to believe meanwhile: pending (it is ours, not yet
// confirmed), waiting (not our turn), unavailable (nothing was sold), unknown (it may have been).
export function readAnswer({ status, body, retryAfter }) {
  switch (status) {
    case 200:
      return { kind: 'accepted', orderId: body.orderId };
    case 202:
      return { kind: 'pending', orderId: body.orderId, retryAfter };
    case 409:
      return ENDS.has(body.status)
        ? { kind: body.status, available: body.available }
        : { kind: 'refused', reason: body.error ?? body.msg ?? 'HTTP 409' };
    case 429:
      return { kind: 'waiting', location: body.location, ticket: isTicket(body.ticket ?? '') ? body.ticket : null, retryAfter };
    case 503:
      return { kind: body.status === 'unavailable' ? 'unavailable' : 'unknown', retryAfter };
    default:
      // A gateway in between may lose an answer; what the edge itself refuses is refused for good.
      return status >= 500 || status === 408
        ? { kind: 'unknown', retryAfter }
        : { kind: 'refused', reason: body.error ?? `HTTP ${status}` };
  }
}

// What is known of a sale, whichever way it was told: GET /queue (fair: there is a line) or GET /stock. Null: no such sale.
export function readSale({ status, body }) {
  if (status === 404) return null;
  if (status !== 200 || typeof body.state !== 'string') throw new Error(`the sale: HTTP ${status}`);
  const { state, available = null, opensAt = null, now = null, rate = 0, watermark = null, issued = [], seedHash } = body;
  return { fair: 'watermark' in body, state, available, opensAt, now, rate, watermark, issued, seedHash };
}

// How many ms there are until the sale opens; 0 where it has opened, null where nobody says when.
export function untilOpening(sale, now) {
  if (sale.opensAt !== null) return Math.max(0, sale.opensAt - now);
  return sale.state === 'scheduled' ? null : 0;
}

// Stands in line with a ticket. Yields where the order stands; returns what there is to do: 'ask' (it is called, or only an
// answer can tell), or the step that ends the matter. `owed`: the order may have been sold already, so only an answer ends it.
async function* stand(order, io, owed) {
  const place = line.placeOf(order.ticket);
  let looks = [];
  for (let failures = 0; ; ) {
    let sale;
    try {
      sale = readSale(await io.look(order.product));
      failures = 0;
    } catch {
      yield* without(io, line.pause(failures, 0, io.random));
      failures += 1;
      continue;
    }
    if (!sale?.fair || place === null) return 'ask';
    // A ticket of an earlier sale says nothing in this one.
    if (order.seedHash && order.seedHash !== sale.seedHash) return 'ask';
    order.seedHash = sale.seedHash;
    if (sale.state === 'sold_out' || sale.state === 'closed') return owed ? 'ask' : { kind: sale.state };
    const left = untilOpening(sale, io.now());
    if (left > 0) {
      const next = line.countdownPause(left, io.random);
      yield { kind: 'countdown', opensAt: sale.opensAt, fair: true, order };
      await io.rest(next);
      continue;
    }
    if (line.isCalled(place, sale.watermark)) return 'ask';
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
async function* retryLater(order, io, outcome, tries, owed) {
  if (tries % LOOK_EVERY_TRIES === 0) {
    const sale = await io.look(order.product).then(readSale).catch(() => null);
    if (!owed && (sale?.state === 'sold_out' || sale?.state === 'closed')) return { kind: sale.state };
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
// being the end. Steps carry `order`, with the ticket that it has got meanwhile: keep it.
export async function* pursue(first, io) {
  const order = { ...first };
  let owed = false;
  for (let tries = 0; ; tries += 1) {
    if (order.ticket) {
      const due = yield* stand(order, io, owed);
      if (due !== 'ask') {
        yield due;
        return;
      }
      yield { kind: 'called', order };
    }
    let outcome;
    try {
      outcome = readAnswer(await io.send(order));
    } catch {
      owed = true;
      yield* without(io, line.pause(tries, 0, io.random), 'unknown');
      continue;
    }
    if (ENDS.has(outcome.kind)) {
      yield { ...outcome, order };
      return;
    }
    // A reserved order, or one of which nobody knows, is not given up because others bought the rest.
    // A 429 or 503 says nothing of a try before it.
    owed ||= outcome.kind === 'pending' || outcome.kind === 'unknown';
    if (outcome.kind === 'pending') {
      const confirmed = yield* confirm(order, outcome.orderId, io);
      if (confirmed) return;
    } else if (outcome.kind === 'waiting' && outcome.ticket) {
      // A first ticket is looked at at once; whoever is called and refused, or gets another one, comes back a little later.
      const next = order.ticket ? line.pause(tries, outcome.retryAfter, io.random, CALLED_PAUSE_MS_MAX) : 0;
      const seedHash = outcome.ticket === order.ticket ? order.seedHash : undefined;
      // A place that was used up is followed by one farther back: what was shown of it says nothing of this one.
      if (!line.isSamePlace(outcome.ticket, order.ticket)) delete order.ahead;
      Object.assign(order, { ticket: outcome.ticket, seedHash });
      yield { ...outcome, nextTry: io.now() + next, order };
      await io.rest(next);
    } else if (outcome.kind === 'waiting') {
      delete order.ticket;
      const end = yield* retryLater(order, io, outcome, tries, owed);
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
// more: a repeat tells.
async function* confirm(order, orderId, io) {
  for (let tries = 0; ; tries += 1) {
    const next = line.pause(tries, 1, io.random);
    yield { kind: 'pending', orderId, nextTry: io.now() + next, order };
    await io.rest(next);
    const answer = await io.status(order.product, orderId).catch(() => null);
    if (answer?.status === 404) return false;
    if (answer?.status === 200 && answer.body.status !== 'pending') {
      yield { kind: answer.body.status === 'accepted' ? 'accepted' : answer.body.status, orderId, order };
      return true;
    }
  }
}

// Follows an accepted order into the books, where the page was told who keeps them. Nothing that the buyer must wait for.
export async function* follow(product, orderId, io) {
  if (!io.ledger) return;
  for (let tries = 0; ; tries += 1) {
    const answer = await io.ledger(product, orderId).catch(() => null);
    const status = answer?.status === 200 ? answer.body.status : null;
    if (status === 'stored' || status === 'rejected') {
      yield { kind: status, orderId, reason: answer.body.reason };
      return;
    }
    await io.rest(line.pause(tries, 0, io.random));
  }
}
