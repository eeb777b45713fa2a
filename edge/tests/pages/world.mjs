// An order's surroundings under virtual time: an edge that answers as it is told. Answers are what `received` makes of them.

import assert from 'node:assert/strict';

export const ID = '0f0e0d0c-0b0a-8908-8706-050403020100';
export const ORDER = { product: 'p', user: 'u', quantity: 1, key: 'k' };

export function ticket(slot, rank) {
  const bytes = Buffer.alloc(24, 0x5e);
  bytes.writeUInt32BE(slot, 0);
  bytes.writeUInt32BE(rank, 4);
  return bytes.toString('base64url');
}

export const ok = { status: 200, body: { status: 'success', msg: 'Order accepted', orderId: ID } };
export const pending = { status: 202, body: { status: 'pending', msg: 'Order reserved', orderId: ID } };
export const soldOut = { status: 409, body: { status: 'sold_out', msg: 'Inventory empty' } };
export const wait = { status: 429, body: { status: 'waiting', location: 'http://room/' } };
export const unavailable = { status: 503, body: { status: 'unavailable', msg: 'Redis unavailable' } };
export const unknown = { status: 503, body: { status: 'unknown', msg: 'Outcome unknown, repeat with the same key' } };
export const noSale = { status: 404, body: { error: 'Unknown product' } };
export const noOrder = { status: 404, body: { error: 'Unknown order' } };
export const inLine = (text) => ({ ...wait, body: { ...wait.body, ticket: text } });

// A sale whose crowd tries again.
export const sale = (now, more = {}) => ({
  status: 200,
  body: { queue: 'retry', state: 'open', opensAt: 0, now: Math.floor(now), rate: 10, available: 5, ...more },
});

// A fair line of 1000 in its first second that moves 10 a second.
export const fairSale = (from, more = {}) => (now) => ({
  status: 200,
  body: {
    state: 'open', opensAt: from, now: Math.floor(now), rate: 10, issued: [1000], available: 5000, seedHash: 'h', seed: null,
    watermark: { slot: 0, rank: Math.floor(Math.min(2 ** 32 - 1, Math.max(0, ((now - from) / 100_000) * 2 ** 32))) },
    ...more,
  },
});

// `answers`: what POST says, in turn, the last one for ever; an Error is thrown. `look(now)`, `status(now)` and `ledger(now)`:
// what the others say.
export function world({ answers, look = () => noSale, status = () => noOrder, ledger = null }) {
  const it = { now: 1_000_000, online: true, sent: [], looks: 0, rests: [] };
  const say = (answer) => {
    if (answer instanceof Error) throw answer;
    return { retryAfter: 1, ...answer };
  };
  it.io = {
    send: async (order) => {
      it.sent.push({ ...order, at: it.now });
      return say(answers[Math.min(it.sent.length, answers.length) - 1]);
    },
    look: async () => {
      it.looks += 1;
      return say(look(it.now));
    },
    status: async () => say(status(it.now)),
    ledger: ledger && (async () => say(ledger(it.now))),
    now: () => it.now,
    random: () => 0.5,
    rest: async (ms) => {
      assert.ok(ms >= 0 && Number.isFinite(ms), `a rest of ${ms}`);
      it.rests.push(ms);
      it.now += ms;
    },
    isOnline: () => it.online,
    untilOnline: async () => {
      it.now += 60_000;
      it.online = true;
    },
  };
  return it;
}

// All steps that a page shows; `order` as it was at that step.
export async function all(steps, most = 2000) {
  const seen = [];
  for await (const step of steps) {
    if (step.kind !== 'sending') seen.push({ ...step, order: step.order && { ...step.order } });
    assert.ok(seen.length < most, 'it ends');
  }
  return seen;
}

export const kinds = (steps) => steps.map((step) => step.kind);
