// An order's way, under virtual time, against an edge that answers as it is told. Run by edge/tests/pages.rs, or by hand:
// node --test edge/tests/pages/

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readAnswer } from '../../static/answer.js';
import { ENDS, follow, fromFragment, pursue, sound, toFragment } from '../../static/pursue.js';
import {
  ID, ORDER, all, fairSale, inLine, kinds, ok, pending, sale, soldOut, ticket, unavailable, unknown, wait, world,
} from './world.mjs';

test('every try carries the same key, whatever comes between', async () => {
  const it = world({ answers: [new Error('reset'), unavailable, wait, unknown, { status: 502, body: {} }, ok] });
  const steps = await all(pursue(ORDER, it.io));
  assert.deepEqual(kinds(steps), ['unknown', 'unavailable', 'waiting', 'unknown', 'unknown', 'accepted']);
  assert.equal(it.sent.length, 6);
  assert.ok(it.sent.every((order) => order.key === 'k' && order.quantity === 1));
});

test('pauses grow, and an end ends', async () => {
  for (const end of [soldOut, { status: 409, body: { status: 'limit_reached' } }, { status: 422, body: { error: 'no' } }, { status: 400, body: { error: 'Invalid identifier' } }]) {
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
    look: (now) => sale(now, { state: 'waiting', opensAt }),
  });
  const steps = await all(pursue(ORDER, it.io));
  assert.ok(kinds(steps).includes('countdown'));
  assert.equal(it.sent.length, 2);
  assert.ok(it.sent[1].at >= opensAt && it.sent[1].at <= opensAt + 5_000);
});

test('over the limit a look tells that all is sold, but not to an order that may have been', async () => {
  const look = (now) => sale(now, { state: now > 1_030_000 ? 'sold_out' : 'open', available: 0 });
  let it = world({ answers: [wait], look });
  assert.equal((await all(pursue(ORDER, it.io))).at(-1).kind, 'sold_out');
  it = world({ answers: [unknown, ...Array(20).fill(wait), ok], look });
  assert.equal((await all(pursue(ORDER, it.io))).at(-1).kind, 'accepted');
});

test('without a network nothing is sent until there is one', async () => {
  const it = world({ answers: [new Error('no network'), ok] });
  it.online = false;
  const steps = await all(pursue(ORDER, it.io));
  assert.deepEqual(kinds(steps), ['offline', 'accepted']);
});

test('a pending order is asked about, not sent again, until the edge forgets it', async () => {
  let it = world({ answers: [pending], status: (now) => ({ status: 200, body: { orderId: ID, status: now > 1_020_000 ? 'accepted' : 'pending' } }) });
  assert.equal((await all(pursue(ORDER, it.io))).at(-1).kind, 'accepted');
  assert.equal(it.sent.length, 1);
  it = world({ answers: [pending, ok] });
  assert.equal((await all(pursue(ORDER, it.io))).at(-1).kind, 'accepted');
  assert.equal(it.sent.length, 2);
});

test('with a ticket the line is watched and the order sent when its place is called', async () => {
  const it = world({ answers: [inLine(ticket(0, 2 ** 31)), ok], look: fairSale(1_000_000) });
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
  const look = (now) => {
    const counted = now >= 1_003_000;
    const more = Math.floor(now / 1000) % 2 ? 40 : 0;
    return fairSale(1_000_000, { issued: counted ? [20 + more, 10, 5, 8] : [20 + more, 10], watermark: { slot: 0, rank: 0 } })(now);
  };
  const it = world({ answers: [inLine(ticket(3, 2 ** 31))], look });
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
  const it = world({ answers: [ok], look: fairSale(opensAt) });
  const steps = await all(pursue({ ...ORDER, ticket: ticket(0, 2 ** 30) }, it.io));
  assert.equal(steps[0].kind, 'countdown');
  assert.equal(it.sent.length, 1);
  assert.ok(it.sent[0].at >= opensAt + 25_000 - 1);
  assert.ok(it.looks < 40, `${it.looks} looks in ten minutes`);
});

test('sold out in line ends it without a request, but an order that may have been sold is asked about', async () => {
  const over = fairSale(0, { state: 'sold_out', available: 0 });
  let it = world({ answers: [ok], look: over });
  assert.deepEqual(kinds(await all(pursue({ ...ORDER, ticket: ticket(0, 5) }, it.io))), ['sold_out']);
  assert.equal(it.sent.length, 0);
  it = world({ answers: [unknown, ok], look: (now) => (it.sent.length === 0 ? fairSale(0) : over)(now) });
  assert.equal((await all(pursue({ ...ORDER, ticket: ticket(0, 5) }, it.io))).at(-1).kind, 'accepted');
  assert.equal(it.sent.length, 2);
});

test('a ticket of another sale is exchanged, and one that cannot be read does not make a storm', async () => {
  const order = { ...ORDER, ticket: ticket(9, 0), seedHash: 'old' };
  let it = world({ answers: [inLine(ticket(0, 1)), ok], look: fairSale(0) });
  assert.equal((await all(pursue(order, it.io))).at(-1).kind, 'accepted');
  assert.equal(it.sent.length, 2);
  it = world({ answers: [...Array(20).fill(0).map((_, index) => inLine(`odd-${index}`)), ok], look: fairSale(0) });
  await all(pursue(ORDER, it.io));
  assert.ok(it.now - 1_000_000 > 40_000, `20 tries within ${it.now - 1_000_000} ms`);
});

test('a ticket of a second that has not come is of a sale that was replaced, and asked about once', async () => {
  const opensAt = 1_000_000 - 5_000;
  let it = world({ answers: [inLine(ticket(0, 1)), ok], look: fairSale(opensAt) });
  assert.equal((await all(pursue({ ...ORDER, ticket: ticket(900, 0) }, it.io))).at(-1).kind, 'accepted');
  assert.ok(it.now < 1_000_000 + 60_000, `waited until ${it.now}, for the second of another sale`);
  const far = (now) => fairSale(opensAt, { watermark: { slot: now < opensAt + 70_000 ? 0 : 61, rank: 0 } })(now);
  it = world({ answers: [inLine(ticket(60, 0)), ok], look: far });
  assert.equal((await all(pursue({ ...ORDER, ticket: ticket(60, 0) }, it.io))).at(-1).kind, 'accepted');
  assert.equal(it.sent.length, 2, 'the edge said that it is its own');
});

test('a line that cannot be seen is looked for again, seldom', async () => {
  let failing = 10;
  const it = world({ answers: [ok], look: (now) => (failing-- > 0 ? new Error('away') : fairSale(0)(now)) });
  const steps = await all(pursue({ ...ORDER, ticket: ticket(0, 1) }, it.io));
  assert.equal(kinds(steps).filter((kind) => kind === 'unreachable').length, 10);
  assert.equal(steps.at(-1).kind, 'accepted');
  assert.ok(it.rests[9] > it.rests[0]);
});

test('an accepted order is followed into the ledger where the page was told a worker', async () => {
  assert.deepEqual(await all(follow('p', ID, world({ answers: [] }).io)), []);
  const ledger = (now) => (now < 1_030_000 ? { status: 404, body: { error: 'Unknown order' } } : { status: 200, body: { orderId: ID, status: 'stored' } });
  assert.deepEqual(kinds(await all(follow('p', ID, world({ answers: [], ledger }).io))), ['stored']);
});

test('answers mean what the manual says', () => {
  const kind = (status, body) => readAnswer({ status, body, retryAfter: 1 }).kind;
  assert.equal(kind(409, { status: 'insufficient', available: 2 }), 'insufficient');
  assert.equal(kind(503, { status: 'unavailable', msg: 'Edge full' }), 'unavailable');
  assert.equal(kind(404, { error: 'Unknown product' }), 'refused');
  assert.equal(readAnswer({ status: 429, body: { status: 'waiting', ticket: 'two words' }, retryAfter: 1 }).ticket, null);
});

test('an order survives the fragment, and nothing unsound does', () => {
  const order = { ...ORDER, ticket: ticket(3, 4) };
  assert.deepEqual(fromFragment(toFragment(order)), { ...order, seedHash: undefined });
  assert.deepEqual(fromFragment(toFragment(ORDER)), ORDER);
  assert.deepEqual(fromFragment(toFragment({ ...ORDER, owed: true })), { ...ORDER, owed: true });
  for (const wrong of ['', '#', '#product=p', '#product=..&user=u&key=k', '#product=p&user=u&key=k&quantity=0', '#product=p&user=u&key=a/b', '#product=p&user=u&key=k&quantity=1.5']) {
    assert.equal(fromFragment(wrong), null, wrong);
  }
  for (const wrong of [null, 'text', [], { ...ORDER, quantity: '1' }, { ...ORDER, key: 5 }]) assert.equal(sound(wrong), null);
  assert.deepEqual(sound({ ...ORDER, ticket: '<script>', more: 1 }), { ...ORDER, ticket: '<script>', seedHash: undefined });
});
