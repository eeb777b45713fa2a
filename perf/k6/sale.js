// A sale as a crowd lives it: every iteration is one buyer with a key of their own, who tries until there is an answer
// that ends the matter. Run with k6 1.0 or later:
//
//   k6 run perf/k6/sale.js                          1,000 virtual users, 100 units, 20 orders/s
//   k6 run -e VUS=50000 -e RAMP=30s perf/k6/sale.js
//
// Settings (environment, or -e NAME=value):
//   EDGE   http://127.0.0.1:3000   public listener; several, with commas between, are used in turn
//   ADMIN  http://127.0.0.1:3001   admin listener, which opens the sale; INIT=off where the sale is open already
//   TOKEN                          admin token, where the admin listener wants one
//   PRODUCT k6-phone  STOCK 100  QUANTITY 1      what is sold, how many units, how many an order
//   RATE 20  BURST 20                            orders per second, orders; RATE=0 is no limit
//   VUS 1000  RAMP 10s  HOLD 20s  COOL 5s        virtual users at the height, and the three stages
//   ATTEMPTS 20                                  how often one buyer tries before giving up
//   P99_MS 2000                                  bound on the 99th percentile of one request, milliseconds
//
// It fails (exit code 99) when more units were sold than there are, when an answer came that the API does not have, or
// when the percentile is above its bound. Against a sale that somebody else opened set STOCK to what was left.

import { check, fail, sleep } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';

const setting = (name, otherwise) => __ENV[name] || otherwise;
const count = (name, otherwise) => {
  const value = Number(setting(name, otherwise));
  if (!Number.isInteger(value) || value < 0) throw new Error(`${name} is no whole number`);
  return value;
};

const edges = setting('EDGE', 'http://127.0.0.1:3000').split(',');
const admin = setting('ADMIN', 'http://127.0.0.1:3001');
const product = setting('PRODUCT', 'k6-phone');
const stock = count('STOCK', 100);
const quantity = count('QUANTITY', 1);
const rate = count('RATE', 20);
const burst = count('BURST', 20);
const users = count('VUS', 1000);
const attempts = count('ATTEMPTS', 20);

export const options = {
  scenarios: {
    crowd: {
      executor: 'ramping-vus',
      startVUs: 0,
      stages: [
        { duration: setting('RAMP', '10s'), target: users },
        { duration: setting('HOLD', '20s'), target: users },
        { duration: setting('COOL', '5s'), target: 0 },
      ],
      gracefulRampDown: '5s',
      gracefulStop: '10s',
    },
  },
  // A redirect is an answer to be counted, not a page to be fetched.
  maxRedirects: 0,
  // The answers of 50,000 users are not kept; those that are read below ask for their body.
  discardResponseBodies: true,
  summaryTrendStats: ['min', 'med', 'p(95)', 'p(99)', 'p(99.9)', 'max'],
  thresholds: {
    flux_units_sold: [`count<=${stock}`],
    flux_unexpected: ['count==0'],
    checks: ['rate==1'],
    'http_req_duration{name:order}': [`p(99)<${count('P99_MS', 2000)}`],
  },
};

// What k6 may call a failed request is only what the contract does not name.
http.setResponseCallback(http.expectedStatuses(200, 202, 302, 409, 503));

// One counter and one trend for each way an order can be answered.
const metrics = {};
for (const name of ['accepted_200', 'replayed_200', 'pending_202', 'redirect_302', 'refused_409', 'unavailable_503']) {
  metrics[name] = { answers: new Counter(`flux_${name}`), time: new Trend(`flux_${name}_time`, true) };
}
const unitsSold = new Counter('flux_units_sold');
const unexpected = new Counter('flux_unexpected');
const noAnswer = new Counter('flux_no_answer');
const gaveUp = new Counter('flux_gave_up');

export function setup() {
  const run = `${Date.now().toString(36)}${Math.floor(Math.random() * 36 ** 4).toString(36)}`;
  if (setting('INIT', 'on') === 'off') return { run };
  const headers = { 'content-type': 'application/json' };
  if (__ENV.TOKEN) headers.authorization = `Bearer ${__ENV.TOKEN}`;
  const body = JSON.stringify({ productId: product, quantity: stock, rate, burst, force: true });
  const answer = http.post(`${admin}/init`, body, { headers, responseType: 'text', tags: { name: 'init' } });
  if (answer.status !== 200) fail(`the sale could not be opened: ${answer.status} ${answer.body || answer.error}`);
  return { run };
}

// Which way the order was answered, or null where the API has no such answer.
function classify(answer) {
  switch (answer.status) {
    case 200:
      return answer.headers['Idempotency-Replayed'] === 'true' ? 'replayed_200' : 'accepted_200';
    case 202:
      return 'pending_202';
    case 302:
      return 'redirect_302';
    case 409:
      return 'refused_409';
    case 503:
      return 'unavailable_503';
    default:
      return null;
  }
}

// What the buyer waits before the next try, seconds: at least what the answer asks for, growing, and never in step.
function pause(answer, attempt) {
  const asked = Number(answer.headers['Retry-After'] || 0);
  return asked + Math.random() * Math.min(5, 0.25 * 1.5 ** attempt);
}

export default function (data) {
  const name = `${data.run}-${exec.vu.idInTest}-${exec.vu.iterationInScenario}`;
  const edge = edges[exec.vu.idInTest % edges.length];
  const body = JSON.stringify({ productId: product, userId: `user-${name}`, quantity });
  const params = {
    headers: { 'content-type': 'application/json', 'x-idempotency-key': `key-${name}` },
    tags: { name: 'order' },
    timeout: '15s',
  };

  for (let attempt = 0; attempt < attempts; attempt += 1) {
    const answer = http.post(`${edge}/order`, body, params);
    if (answer.status === 0) {
      // Unknown is not failed: the same key again tells.
      noAnswer.add(1);
      sleep(pause(answer, attempt));
      continue;
    }
    const way = classify(answer);
    if (way === null) {
      unexpected.add(1, { status: String(answer.status) });
      return;
    }
    metrics[way].answers.add(1);
    metrics[way].time.add(answer.timings.duration);

    if (way === 'redirect_302') {
      check(answer, { 'a redirect names the product': (it) => (it.headers.Location || '').includes(`product=${product}`) });
      sleep(pause(answer, attempt));
    } else if (way === 'unavailable_503') {
      check(answer, { 'a 503 says when to come again': (it) => Number(it.headers['Retry-After']) >= 0 });
      sleep(pause(answer, attempt));
    } else {
      // A replay is the answer to a buyer whose first answer was lost, so it stands for a unit too: each key once.
      if (way !== 'refused_409') unitsSold.add(quantity);
      sleep(Math.random());
      return;
    }
  }
  gaveUp.add(1);
}

export function teardown() {
  const answer = http.get(`${edges[0]}/stock/${product}`, { responseType: 'text', tags: { name: 'stock' } });
  check(answer, {
    'the stock is told': (it) => it.status === 200,
    'and lies between nothing and the total': (it) => it.json('available') >= 0 && it.json('available') <= stock,
  });
  console.log(`GET /stock/${product}: ${answer.body}`);
}
