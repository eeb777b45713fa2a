// Answers that are not ours, in every state of a page, and how each ends. Run by edge/tests/pages.rs, or by hand:
// node --test edge/tests/pages/

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readAnswer, readLedger, readSale, readStatus, received, secondsUntilRetry } from '../../static/answer.js';
import { follow, pursue } from '../../static/pursue.js';
import { ID, ORDER, all, fairSale, inLine, kinds, noOrder, ok, pending, sale, soldOut, ticket, unavailable, wait, world } from './world.mjs';

const PAGE = '<!doctype html><title>Just a moment...</title>';
const page = (status, fields = {}) => new Response(PAGE, { status, headers: { 'content-type': 'text/html; charset=utf-8', ...fields } });
const text = (status, body, type) => new Response(body, { status, headers: { 'content-type': type } });
const json = (status, body, type = 'application/json') => text(status, JSON.stringify(body), type);

// By name: what gateways, firewalls and challenge pages say, and what ours looks like when it comes damaged or misplaced.
const FOREIGN = {
  ...Object.fromEntries(
    [200, 201, 202, 400, 401, 403, 404, 405, 407, 408, 409, 410, 413, 418, 421, 422, 425, 429, 431, 451, 500, 501, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 530]
      .map((status) => [`${status} page`, () => page(status)]),
  ),
  'empty 200': () => new Response(null, { status: 200 }),
  '204': () => new Response(null, { status: 204 }),
  'a redirect that was followed to a page': () => page(200),
  'a redirect that was not followed': () => Response.error(),
  '429 page that asks for a day': () => page(429, { 'retry-after': '86400' }),
  '429 of a limit in JSON': () => json(429, { message: 'API rate limit exceeded' }),
  '429 with an error': () => json(429, { error: 'Too many requests' }),
  '403 in JSON': () => json(403, { message: 'Forbidden' }),
  '403 with an error': () => json(403, { error: 'Forbidden' }),
  '401 with an error': () => json(401, { error: 'Unauthorized' }),
  '404 of another router': () => json(404, { error: 'Not found' }),
  '404 in JSON': () => json(404, { message: 'no Route matched with those values' }),
  '400 of a framework': () => json(400, { timestamp: '2026', status: 400, error: 'Bad Request', path: '/order' }),
  '409 without a word': () => json(409, {}),
  '409 with an error': () => json(409, { error: 'Conflict' }),
  '409 with a word for another status': () => json(409, { status: 'accepted', orderId: ID }),
  '409 insufficient without a number': () => json(409, { status: 'insufficient' }),
  '422 as a problem': () => json(422, { title: 'Unprocessable', status: 422 }, 'application/problem+json'),
  '503 in JSON': () => json(503, {}),
  '503 of a mesh': () => json(503, { status: 'unavailable' }),
  '200 of a health check': () => json(200, { status: 'ok' }),
  '200 success without an order': () => json(200, { status: 'success', msg: 'Order accepted' }),
  '200 success with an order that is none': () => json(200, { status: 'success', orderId: 'null' }),
  '200 with an order and no word': () => json(200, { orderId: ID }),
  '200 with a word in a list': () => json(200, { status: ['success'], orderId: ID }),
  '202 without an order': () => json(202, { status: 'pending' }),
  'ours cut off': () => text(200, JSON.stringify({ status: 'success', orderId: ID }).slice(0, -9), 'application/json'),
  'ours called a page': () => json(200, { status: 'success', orderId: ID }, 'text/html'),
  'ours in a list': () => json(200, [{ status: 'success', orderId: ID }]),
  'null': () => json(200, null),
  'a word': () => json(200, 'success'),
};

// What `received` makes of it, by name; `now` as in these worlds.
const foreign = Object.fromEntries(
  await Promise.all(Object.entries(FOREIGN).map(async ([name, make]) => [name, await received(make(), 1_000_000)])),
);

// A test that holds for every foreign answer.
const each = (name, holds) => test(name, async (context) => {
  for (const [what, answer] of Object.entries(foreign)) await context.test(what, () => holds(answer));
});

const spoken = (step) => step.order?.owed;
const gaps = (sent) => sent.slice(1).map((order, index) => order.at - sent[index].at);

each('a foreign answer is unknown, whatever was tried before', (answer) => {
  for (const owed of [false, true]) assert.equal(readAnswer(answer, owed).kind, 'unknown');
  assert.equal(readStatus(answer, ID), null);
  assert.equal(readLedger(answer, ID), null);
  assert.throws(() => readSale(answer));
});

each('a first try that it swallowed is repeated under its key until the edge answers', async (answer) => {
  const it = world({ answers: [...Array(30).fill(answer), ok] });
  const steps = await all(pursue(ORDER, it.io));
  assert.deepEqual(kinds(steps), [...Array(30).fill('unknown'), 'accepted']);
  assert.ok(it.sent.every(({ key, quantity }) => key === 'k' && quantity === 1));
  assert.ok(steps.every(spoken), 'and may have been sold from the first on');
  const pauses = gaps(it.sent);
  assert.ok(pauses.every((pause, index) => index === 0 || pause > pauses[index - 1] - 1), `they grow: ${pauses}`);
  assert.ok(pauses[0] >= 500 && pauses.at(-1) <= 90_000, `within bounds: ${pauses}`);
});

each('an order that was sold before it is found again, though the sale is over', async (answer) => {
  const look = (now) => sale(now, { state: 'sold_out', available: 0 });
  const it = world({ answers: [answer, wait, unavailable, ok], look });
  assert.deepEqual(kinds(await all(pursue(ORDER, it.io))), ['unknown', 'waiting', 'unavailable', 'accepted']);
});

each('after a 504 it is no refusal', async (answer) => {
  const it = world({ answers: [foreign['504 page'], answer, ok] });
  assert.deepEqual(kinds(await all(pursue(ORDER, it.io))), ['unknown', 'unknown', 'accepted']);
});

each('a called visitor keeps the ticket', async (answer) => {
  const it = world({ answers: [inLine(ticket(0, 1)), answer, answer, answer, ok], look: fairSale(0) });
  const steps = await all(pursue(ORDER, it.io));
  assert.equal(steps.at(-1).kind, 'accepted');
  assert.deepEqual(it.sent.map((order) => order.ticket), [undefined, ...Array(4).fill(ticket(0, 1))]);
});

each('the line is looked at again, and the place stands', async (answer) => {
  let failing = 5;
  const look = (now) => (failing-- > 0 ? answer : fairSale(0)(now));
  const it = world({ answers: [ok], look });
  const steps = await all(pursue({ ...ORDER, ticket: ticket(0, 1) }, it.io));
  assert.deepEqual(kinds(steps), [...Array(5).fill('unreachable'), 'called', 'accepted']);
  assert.equal(it.sent[0].ticket, ticket(0, 1));
});

each('the sale over the limit is not over because of it', async (answer) => {
  const it = world({ answers: [wait, wait, wait, wait, ok], look: () => answer });
  assert.equal((await all(pursue(ORDER, it.io))).at(-1).kind, 'accepted');
});

each('a reserved order stays reserved, and a repeat asks where the question finds nobody', async (answer) => {
  const it = world({ answers: [pending, pending, ok], status: () => answer });
  const steps = await all(pursue(ORDER, it.io));
  assert.deepEqual(kinds(steps), [...Array(8).fill('pending'), 'accepted']);
  assert.equal(it.sent.length, 3);
});

each('an accepted order is not called rejected, and followed on', async (answer) => {
  const ledger = (now) => (now < 1_100_000 ? answer : { status: 200, body: { orderId: ID, status: 'stored' } });
  assert.deepEqual(kinds(await all(follow('p', ID, world({ answers: [], ledger }).io))), ['stored']);
});

test('the word of one status is none under another', () => {
  for (const [status, word] of [[200, 'pending'], [202, 'success'], [201, 'success'], [200, 'sold_out'], [409, 'success'], [503, 'waiting'], [429, 'unavailable']]) {
    assert.equal(readAnswer({ status, body: { status: word, msg: '', orderId: ID }, retryAfter: 1 }).kind, 'unknown', `${status} ${word}`);
  }
});

test('what the edge or the ledger says of another order is not believed', () => {
  const other = ID.replace('0f', '1f');
  assert.equal(readStatus({ status: 200, body: { orderId: other, status: 'accepted' } }, ID), null);
  assert.equal(readLedger({ status: 200, body: { orderId: other, status: 'rejected' } }, ID), null);
  assert.equal(readStatus({ ...noOrder }, ID), 'forgotten');
});

// As docs/SPEC.md gives it: our member, and those of RFC 9457.
const problem = (status, error) => ({ error, type: 'about:blank', title: 'Not Found', status, detail: error });

test('a refusal with other members than the edge gives is not its own', () => {
  const ours = problem(404, 'Unknown product');
  assert.equal(readAnswer({ status: 404, body: ours }).kind, 'refused');
  for (const change of [{ detail: 'else' }, { type: 'https://gateway.example/404' }, { status: '404' }, { path: '/order' }, { title: undefined }]) {
    assert.equal(readAnswer({ status: 404, body: { ...ours, ...change } }).kind, 'unknown', JSON.stringify(change));
  }
  assert.deepEqual(readAnswer({ status: 429, body: { status: 'limited', msg: 'Too many requests' }, retryAfter: 3 }), { kind: 'unavailable', retryAfter: 3 });
});

test('what the edge says is final, also after an answer that was not its own', async () => {
  const ends = [
    [soldOut, 'sold_out'],
    [{ status: 409, body: { status: 'limit_reached', msg: 'Limit per customer reached' } }, 'limit_reached'],
    [{ status: 409, body: { status: 'insufficient', msg: 'Not enough units left', available: 0 } }, 'insufficient'],
    [{ status: 422, body: { error: 'Idempotency key reused with a different order' } }, 'refused'],
    [{ status: 404, body: { error: 'Unknown product' } }, 'refused'],
    [{ status: 404, body: problem(404, 'Unknown product') }, 'refused'],
    [{ status: 422, body: problem(422, 'Idempotency key reused with a different order') }, 'refused'],
  ];
  for (const [answer, kind] of ends) {
    for (const before of [[], [foreign['504 page'], foreign['403 page']]]) {
      const it = world({ answers: [...before, answer] });
      assert.equal((await all(pursue(ORDER, it.io))).at(-1).kind, kind);
      assert.equal(it.sent.length, before.length + 1);
    }
  }
});

test('a 400 of the edge ends a first try, but not one after an order it may have taken', async () => {
  const malformed = { status: 400, body: { error: 'Invalid identifier' } };
  let it = world({ answers: [malformed] });
  assert.deepEqual(kinds(await all(pursue(ORDER, it.io))), ['refused']);
  it = world({ answers: [foreign['504 page'], malformed, ok] });
  assert.deepEqual(kinds(await all(pursue(ORDER, it.io))), ['unknown', 'unknown', 'accepted']);
});

test('a page that is left during a try may have sold the order, and one that was answered keeps what it knew', async () => {
  const record = async (answers, stop) => {
    let kept = ORDER;
    for await (const step of pursue(ORDER, world({ answers }).io)) {
      if (step.order) kept = { ...step.order };
      if (step.kind === stop) break;
    }
    return kept;
  };
  assert.equal((await record([ok], 'sending')).owed, true, 'before the answer');
  assert.equal((await record([wait], 'waiting')).owed, undefined, 'not our turn: nothing was sold');
  assert.equal((await record([foreign['403 page']], 'unknown')).owed, true);
  // Left, and opened again when all is sold: only the edge tells, in a line too.
  const over = fairSale(0, { state: 'sold_out', available: 0 });
  const it = world({ answers: [ok], look: over });
  assert.deepEqual(kinds(await all(pursue({ ...ORDER, owed: true, ticket: ticket(0, 5) }, it.io))), ['accepted']);
});

test('a ticket is given up only where the sale has no line', async () => {
  let it = world({ answers: [wait, ok], look: fairSale(0) });
  await all(pursue({ ...ORDER, ticket: ticket(0, 1) }, it.io));
  assert.deepEqual(it.sent.map((order) => order.ticket), [ticket(0, 1), ticket(0, 1)]);
  it = world({ answers: [wait, ok], look: (now) => sale(now) });
  await all(pursue({ ...ORDER, ticket: ticket(0, 1) }, it.io));
  assert.deepEqual(it.sent.map((order) => order.ticket), [ticket(0, 1), undefined]);
});

test('retry-after is kept in either form, within bounds', () => {
  const now = Date.parse('2026-12-01T12:00:00Z');
  const wanted = [
    [null, 0], ['', 0], ['0', 0], ['1', 1], [' 7 ', 7], ['60', 60], ['86400', 60], ['9'.repeat(400), 60], ['-5', 0], ['soon', 0],
    ['Tue, 01 Dec 2026 12:00:30 GMT', 30], ['Tue, 01 Dec 2026 11:00:00 GMT', 0], ['Wed, 02 Dec 2026 12:00:00 GMT', 60],
  ];
  for (const [field, seconds] of wanted) assert.equal(secondsUntilRetry(field, now), seconds, String(field));
});

test('a sale is what the edge tells of it, whole', () => {
  assert.equal(readSale(sale(5)).fair, false);
  assert.equal(readSale(fairSale(0)(5)).fair, true);
  assert.equal(readSale({ status: 503, body: { status: 'unavailable', msg: 'Sale suspended' } }).state, 'suspended');
  assert.equal(readSale({ status: 404, body: { error: 'Unknown product' } }), null);
  const { body } = fairSale(0)(5);
  const wrong = [
    { ...body, state: 'up' }, { ...body, now: undefined }, { ...body, now: '5' }, { ...body, watermark: null }, { ...body, watermark: {} },
    { ...body, issued: 7 }, { ...body, issued: [null] }, { ...body, seedHash: undefined }, { ...body, watermark: undefined },
  ];
  for (const told of wrong) assert.throws(() => readSale({ status: 200, body: told }), JSON.stringify(told));
});
