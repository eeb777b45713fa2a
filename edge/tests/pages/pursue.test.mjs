// An order's way, under virtual time, against an edge that answers as it is told. Run by edge/tests/pages.rs, or by hand:
// node --test edge/tests/pages/

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ENDS, follow, fromFragment, pursue, readAnswer, sound, toFragment } from '../../static/pursue.js';

const ORDER = { product: 'p', user: 'u', quantity: 1, key: 'k' };
function ticket(slot, rank) {
  const bytes = Buffer.alloc(24, 0x5e);
  bytes.writeUInt32BE(slot, 0);
  bytes.writeUInt32BE(rank, 4);
  return bytes.toString('base64url');
}

// `answers`: what POST says, in turn, the last one for ever; an Error is thrown. `sale(now)`: what a look says.
function world({ answers, sale = () => ({ status: 404, body: {} }), status = () => ({ status: 404, body: {} }), ledger = null }) {
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
      return say(sale(it.now));
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

async function all(steps, most = 2000) {
  const seen = [];
  for await (const step of steps) {
    seen.push({ ...step, order: undefined });
    assert.ok(seen.length < most, 'it ends');
  }
  return seen;
}

const ok = { status: 200, body: { status: 'success', orderId: 'id' } };
const soldOut = { status: 409, body: { status: 'sold_out' } };
const wait = { status: 429, body: { status: 'waiting', location: 'http://room/' } };
const unavailable = { status: 503, body: { status: 'unavailable' } };
const unknown = { status: 503, body: { status: 'unknown' } };
const pending = { status: 202, body: { status: 'pending', orderId: 'id' } };
const kinds = (steps) => steps.map((step) => step.kind);

test('every try carries the same key, whatever comes between', async () => {
  const it = world({ answers: [new Error('reset'), unavailable, wait, unknown, { status: 502, body: {} }, ok] });
  const steps = await all(pursue(ORDER, it.io));
  assert.deepEqual(kinds(steps), ['unknown', 'unavailable', 'waiting', 'unknown', 'unknown', 'accepted']);
  assert.equal(it.sent.length, 6);
  assert.ok(it.sent.every((order) => order.key === 'k' && order.quantity === 1));
});

test('pauses grow, and an end ends', async () => {
  for (const end of [soldOut, { status: 409, body: { status: 'limit_reached' } }, { status: 422, body: { error: 'no' } }, { status: 400, body: {} }]) {
    const it = world({ answers: [...Array(30).fill(wait), end] });
    const steps = await all(pursue(ORDER, it.io));
    assert.ok(ENDS.has(steps.at(-1).kind));
    assert.equal(it.sent.length, 31);
    const gaps = it.sent.slice(1).map((order, index) => order.at - it.sent[index].at);
    assert.ok(gaps.every((gap, index) => gap >= 1000 && (index === 0 || gap >= gaps[index - 1])), String(gaps));
    assert.ok(gaps.at(-1) > 15_000);
  }
});

test('a sale that has not opened is not asked again before it does', async () => {
  const opensAt = 1_000_000 + 3_600_000;
  const it = world({
    answers: [wait, ok],
    sale: (now) => ({ status: 200, body: { state: 'scheduled', available: 5, opensAt, now } }),
  });
  const steps = await all(pursue(ORDER, it.io));
  assert.ok(kinds(steps).includes('countdown'));
  assert.equal(it.sent.length, 2);
  assert.ok(it.sent[1].at >= opensAt && it.sent[1].at <= opensAt + 5_000);
});

test('over the limit a look tells that all is sold, but not to an order that may have been', async () => {
  const sale = (now) => ({ status: 200, body: { state: now > 1_030_000 ? 'sold_out' : 'open', available: 0 } });
  let it = world({ answers: [wait], sale });
  assert.equal((await all(pursue(ORDER, it.io))).at(-1).kind, 'sold_out');
  it = world({ answers: [unknown, ...Array(20).fill(wait), ok], sale });
  assert.equal((await all(pursue(ORDER, it.io))).at(-1).kind, 'accepted');
});

test('without a network nothing is sent until there is one', async () => {
  const it = world({ answers: [new Error('no network'), ok] });
  it.online = false;
  const steps = await all(pursue(ORDER, it.io));
  assert.deepEqual(kinds(steps), ['offline', 'accepted']);
});

test('a pending order is asked about, not sent again, until the edge forgets it', async () => {
  let it = world({ answers: [pending], status: (now) => ({ status: 200, body: { status: now > 1_020_000 ? 'accepted' : 'pending' } }) });
  assert.equal((await all(pursue(ORDER, it.io))).at(-1).kind, 'accepted');
  assert.equal(it.sent.length, 1);
  it = world({ answers: [pending, ok] });
  assert.equal((await all(pursue(ORDER, it.io))).at(-1).kind, 'accepted');
  assert.equal(it.sent.length, 2);
});

// A fair line of 1000 in its first second that moves 10 a second.
const fairSale = (from, more = {}) => (now) => ({
  status: 200,
  body: {
    state: 'open', opensAt: from, now, rate: 10, issued: [1000], available: 5000, seedHash: 'h', seed: null,
    watermark: { slot: 0, rank: Math.floor(Math.min(2 ** 32 - 1, Math.max(0, ((now - from) / 100_000) * 2 ** 32))) },
    ...more,
  },
});

test('with a ticket the line is watched and the order sent when its place is called', async () => {
  const it = world({ answers: [{ ...wait, body: { ...wait.body, ticket: ticket(0, 2 ** 31) } }, ok], sale: fairSale(1_000_000) });
  const steps = await all(pursue(ORDER, it.io));
  const looks = steps.filter((step) => step.kind === 'line');
  assert.equal(looks[0].position, null, 'its second is not counted yet');
  const line = looks.filter((step) => step.position !== null);
  assert.ok(line.length > 5 && line[0].position <= 501 && line.every((step, index) => index === 0 || step.position <= line[index - 1].position));
  assert.equal(it.sent.length, 2);
  assert.equal(it.sent[1].ticket, ticket(0, 2 ** 31));
  const called = 1_000_000 + 50_000;
  assert.ok(it.sent[1].at >= called && it.sent[1].at <= called + 2_000, String(it.sent[1].at - called));
  assert.ok(Math.abs(line.at(-1).perSecond - 10) < 1, 'as fast as it moves');
  assert.equal(steps.at(-1).kind, 'accepted');
});

test('a place that is shown only falls, through documents that differ and a reload', async () => {
  // A new ticket: the document counts its second only when that is over; then every other look is at an edge that counts more.
  const sale = (now) => {
    const counted = now >= 1_003_000;
    const more = Math.floor(now / 1000) % 2 ? 40 : 0;
    return fairSale(1_000_000, { issued: counted ? [20 + more, 10, 5, 8] : [20 + more, 10], watermark: { slot: 0, rank: 0 } })(now);
  };
  const it = world({ answers: [{ ...wait, body: { ...wait.body, ticket: ticket(3, 2 ** 31) } }], sale });
  const shown = [];
  let kept = ORDER;
  for (let reload = 0; reload < 3; reload += 1) {
    let looks = 0;
    for await (const step of pursue(sound(JSON.parse(JSON.stringify(kept))), it.io)) {
      if (step.order) kept = step.order;
      if (step.kind === 'line' && step.position !== null) shown.push(step.position);
      looks += 1;
      if (looks > 12) break;
    }
  }
  assert.ok(shown.length > 20 && shown[0] >= 40, String(shown));
  assert.ok(shown.every((place, index) => index === 0 || place <= shown[index - 1]), String(shown));
});

test('who came before the opening waits without a request, and then in line', async () => {
  const opensAt = 1_000_000 + 600_000;
  const it = world({ answers: [ok], sale: fairSale(opensAt) });
  const steps = await all(pursue({ ...ORDER, ticket: ticket(0, 2 ** 30) }, it.io));
  assert.equal(steps[0].kind, 'countdown');
  assert.equal(it.sent.length, 1);
  assert.ok(it.sent[0].at >= opensAt + 25_000 - 1);
  assert.ok(it.looks < 40, `${it.looks} looks in ten minutes`);
});

test('sold out in line ends it without a request, but an order that may have been sold is asked about', async () => {
  const over = fairSale(0, { state: 'sold_out', available: 0 });
  let it = world({ answers: [ok], sale: over });
  assert.deepEqual(kinds(await all(pursue({ ...ORDER, ticket: ticket(0, 5) }, it.io))), ['sold_out']);
  assert.equal(it.sent.length, 0);
  it = world({ answers: [unknown, ok], sale: (now) => (it.sent.length === 0 ? fairSale(0) : over)(now) });
  assert.equal((await all(pursue({ ...ORDER, ticket: ticket(0, 5) }, it.io))).at(-1).kind, 'accepted');
  assert.equal(it.sent.length, 2);
});

test('a ticket of another sale is exchanged, and one that cannot be read does not make a storm', async () => {
  const order = { ...ORDER, ticket: ticket(9, 0), seedHash: 'old' };
  let it = world({ answers: [{ ...wait, body: { ...wait.body, ticket: ticket(0, 1) } }, ok], sale: fairSale(0) });
  assert.equal((await all(pursue(order, it.io))).at(-1).kind, 'accepted');
  assert.equal(it.sent.length, 2);
  const odd = (text) => ({ ...wait, body: { ...wait.body, ticket: text } });
  it = world({ answers: [...Array(20).fill(0).map((_, index) => odd(`odd-${index}`)), ok], sale: fairSale(0) });
  await all(pursue(ORDER, it.io));
  assert.ok(it.now - 1_000_000 > 40_000, `20 tries within ${it.now - 1_000_000} ms`);
});

test('a line that cannot be seen is looked for again, seldom', async () => {
  let failing = 10;
  const it = world({ answers: [ok], sale: (now) => (failing-- > 0 ? new Error('away') : fairSale(0)(now)) });
  const steps = await all(pursue({ ...ORDER, ticket: ticket(0, 1) }, it.io));
  assert.equal(kinds(steps).filter((kind) => kind === 'unreachable').length, 10);
  assert.equal(steps.at(-1).kind, 'accepted');
  assert.ok(it.rests[9] > it.rests[0]);
});

test('an accepted order is followed into the books where somebody keeps them', async () => {
  assert.deepEqual(await all(follow('p', 'id', world({ answers: [] }).io)), []);
  const ledger = (now) => (now < 1_030_000 ? { status: 404, body: {} } : { status: 200, body: { status: 'stored' } });
  assert.deepEqual(kinds(await all(follow('p', 'id', world({ answers: [], ledger }).io))), ['stored']);
});

test('answers mean what the manual says', () => {
  const kind = (status, body = {}) => readAnswer({ status, body, retryAfter: 1 }).kind;
  assert.equal(kind(409, { status: 'insufficient', available: 2 }), 'insufficient');
  assert.equal(kind(409, {}), 'refused');
  assert.equal(kind(503, { status: 'unavailable' }), 'unavailable');
  assert.equal(kind(503, {}), 'unknown', 'of a gateway, say');
  assert.equal(kind(504), 'unknown');
  assert.equal(kind(404, { error: 'Unknown product' }), 'refused');
  assert.equal(readAnswer({ status: 429, body: { ticket: 'two words' }, retryAfter: 1 }).ticket, null);
});

test('an order survives the fragment, and nothing unsound does', () => {
  const order = { ...ORDER, ticket: ticket(3, 4) };
  assert.deepEqual(fromFragment(toFragment(order)), { ...order, seedHash: undefined });
  assert.deepEqual(fromFragment(toFragment(ORDER)), ORDER);
  for (const wrong of ['', '#', '#product=p', '#product=..&user=u&key=k', '#product=p&user=u&key=k&quantity=0', '#product=p&user=u&key=a/b', '#product=p&user=u&key=k&quantity=1.5']) {
    assert.equal(fromFragment(wrong), null, wrong);
  }
  for (const wrong of [null, 'text', [], { ...ORDER, quantity: '1' }, { ...ORDER, key: 5 }]) assert.equal(sound(wrong), null);
  assert.deepEqual(sound({ ...ORDER, ticket: '<script>', more: 1 }), { ...ORDER, ticket: '<script>', seedHash: undefined });
});
