// What the dashboard makes of an edge's figures, of its past, and of answers that are not the edge's. Run by edge/tests/pages.rs,
// or by hand: node --test edge/tests/pages/

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UNKNOWN, isFigures, isHistory, objectOf, readOperation } from '../../dashboard/answer.js';
import { History } from '../../dashboard/history.js';

const BOUNDS = [1000, 2000];
const figures = (runningMs, accepted, more = {}) => ({
  runningMs, orders: { accepted }, latency: { boundsUs: BOUNDS, counts: [accepted, 0, 0] }, cores: [], workers: [], warnings: [],
  products: [{ product: 'phone', seenMs: 5, stock: 100 - accepted, line: null }], undelivered: 3, lag: null, ...more,
});
const sample = (runningMs, accepted) => ({
  runningMs, orders: { accepted }, counts: [accepted, 0, 0], undelivered: 1, lag: 4,
  products: [{ product: 'phone', stock: 100 - accepted, line: { waiting: 7, called: 2 * accepted } }],
});

test('a page that has just been opened knows the last five minutes of the edge', () => {
  const history = new History();
  assert.equal(history.lacks(1000), true);
  const samples = Array.from({ length: 64 }, (_, index) => sample(1_000_000 + index * 5_000, 10 * index));
  history.fill({ runningMs: 1_317_000, boundsUs: BOUNDS, samples }, 1000);
  assert.equal(history.samples.length, 62, 'what is older is of no use');
  assert.equal(history.samples.at(-1).at, 998);
  for (let index = 1; index < history.samples.length; index += 1) {
    assert.equal(history.answers(index, 'accepted'), 2);
    assert.equal(history.called(index, 'phone'), 4);
  }
  assert.equal(history.latency(30, 0.5), 0.5);
  assert.deepEqual([history.samples[5].undelivered, history.samples[5].lag], [1, 4]);
  history.add(figures(1_317_000, 640), 1000);
  assert.equal(history.answers(history.last, 'accepted'), 5, 'and goes on from there');
  assert.equal(history.lacks(1001), false);
  assert.equal(history.lacks(1010), true, 'it was asleep');
});

test('where the edge was started anew the past is a gap', () => {
  const history = new History();
  history.fill({ runningMs: 9_000, boundsUs: BOUNDS, samples: [sample(0, 1), sample(5_000, 1)] }, 1000);
  history.add(figures(9_000, 5), 1000);
  history.add(figures(500, 0), 1001);
  assert.equal(history.answers(history.last, 'accepted'), null);
});

test('what was not looked at just now has no stock, and what nobody told is unknown', () => {
  const history = new History();
  history.add(figures(1, 0, { products: [{ product: 'old', seenMs: 9_000, stock: 1, line: null }], undelivered: null }), 1000);
  assert.deepEqual([history.samples[0].stocks, history.samples[0].undelivered], [{}, null]);
});

test('what is left of a suspended sale is unknown, and nothing is said to be taken from it', () => {
  const history = new History();
  const suspended = { ...sample(10_000, 3), products: [{ product: 'phone', stock: null, line: null }] };
  history.fill({ runningMs: 20_000, boundsUs: BOUNDS, samples: [sample(5_000, 2), suspended, sample(15_000, 4)] }, 1000);
  assert.equal(history.samples[1].stocks.phone, null);
  assert.deepEqual([1, 2].map((index) => history.taken(index, 'phone')), [null, null]);
});

test('figures and samples are those of an edge', async () => {
  assert.equal(isFigures(figures(1, 1)), true);
  assert.equal(isHistory({ runningMs: 1, boundsUs: BOUNDS, samples: [sample(1, 1)] }), true);
  for (const told of [null, {}, { status: 'ok' }, figures(1, 1, { products: undefined }), figures(1, 1, { latency: {} }), figures('1', 1)]) {
    assert.equal(isFigures(told), false);
    assert.equal(isHistory(told), false);
  }
  assert.equal(isHistory({ runningMs: 1, boundsUs: BOUNDS, samples: [{}] }), false);
  const page = new Response('{"runningMs":1}', { headers: { 'content-type': 'text/html' } });
  assert.equal(await objectOf(page), null);
  assert.deepEqual(await objectOf(new Response('{"a":1}', { headers: { 'content-type': 'Application/JSON; charset=utf-8' } })), { a: 1 });
});

test('only the edge says what became of an operation', () => {
  const ours = [
    [200, { status: 'ok', msg: 'Sale of phone closed' }, 'Sale of phone closed', 'good'],
    [409, { error: 'A sale of phone is under way' }, 'A sale of phone is under way', 'bad'],
    [409, { error: 'Sale suspended', type: 'about:blank', title: 'Conflict', status: 409, detail: 'Sale suspended' }, 'Sale suspended', 'bad'],
    [400, { error: 'quantity must be an integer from 1 to 1000000000' }, 'quantity must be an integer from 1 to 1000000000', 'bad'],
    [503, { status: 'unavailable', msg: 'Kafka unavailable' }, 'Kafka unavailable. Nothing was done.', 'bad'],
    [401, { error: 'Unauthorized' }, 'The operator token is missing or wrong. Nothing was done.', 'bad'],
  ];
  for (const [status, body, text, light] of ours) {
    const told = readOperation(status, body);
    assert.deepEqual([told.text, told.light], [text, light]);
  }
  const foreign = [
    [200, null], [200, {}], [200, { status: 'ok' }], [201, { status: 'ok', msg: 'x' }], [204, null], [302, null], [401, null], [403, null],
    [403, { message: 'Forbidden' }], [409, { error: 'Conflict', status: 409 }], [409, { error: 'Conflict', type: 'about:blank', title: 'Conflict', status: 409, detail: 'else' }], [429, { message: 'limit' }], [500, { error: 'oops' }],
    [502, null], [503, {}], [503, { status: 'unavailable' }], [503, { status: 'unknown', msg: 'Outcome unknown, repeat with the same key' }], [504, null],
  ];
  for (const [status, body] of foreign) assert.deepEqual(readOperation(status, body), { text: UNKNOWN, light: 'bad' }, `${status} ${JSON.stringify(body)}`);
});
