// The page: asks the edge for its figures once a second and shows them. What is not known is shown as unknown.

import { isFigures, isHistory, objectOf } from './answer.js';
import { History, QUANTILE_SPAN_S, grouped, isSeen, waitingOf } from './history.js';
import { close, setUp } from './operate.js';
import { createPlots } from './plots.js';

const POLL_MS = 1000;
const POLL_PATIENCE_MS = 3000;
// For so long the last figures stand where an answer fails to come.
const OLD_MS_MAX = 3000;
// What /readyz calls an outage.
const OUTAGE_MS = 1000;
// Beyond this an undelivered order is not a slow acknowledgement: the relay takes over after 7 s, a claim lasts 15 s.
const OLDEST_MS_MAX = 25_000;

const element = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });
const UNKNOWN = 'unknown';

const number = (value) => (value === null ? UNKNOWN : value > 0 && value < 10 ? fine.format(value) : whole.format(value));
const span = (ms) => (ms < 1000 ? `${whole.format(ms)} ms` : `${fine.format(ms / 1000)} s`);

// Sets text where it differs: what does not change is not read out again, nor laid out.
function put(node, text, light) {
  if (node.textContent !== text) node.textContent = text;
  if (light !== undefined && node.dataset.light !== light) node.dataset.light = light;
  node.classList.toggle('unknown', text === UNKNOWN);
}

// Rows by key, made once and changed in place, so that focus and selection stay.
function rows(body, items, keyOf, cellsOf, furnish = () => {}) {
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  items.forEach((item, index) => {
    const key = keyOf(item, index);
    const cells = cellsOf(item, index);
    let row = known.get(key);
    known.delete(key);
    if (row === undefined) {
      row = document.createElement('tr');
      row.dataset.key = key;
      cells.forEach(({ isNumber }, place) => {
        const cell = document.createElement(place === 0 ? 'th' : 'td');
        if (place === 0) cell.scope = 'row';
        if (isNumber) cell.className = 'number';
        cell.append(document.createElement('span'));
        row.append(cell);
      });
      furnish(row, item);
    }
    cells.forEach(({ text, light }, place) => put(row.cells[place].firstChild, text, light));
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
  });
  known.forEach((row) => row.remove());
}

const word = (text, light) => ({ text, light });
const figure = (value) => ({ text: number(value), isNumber: true });

const CONSERVATION = { holds: word('holds', 'good'), breach: word('BREACH', 'bad'), unknown: word(UNKNOWN, 'unknown') };
const SALE_LIGHT = { open: 'good', suspended: 'bad' };

let figures = null; // the last ones, null where they are too old
let figuresAt = -Infinity;
const history = new History();
const drawPlots = createPlots();

function unitsOf({ units }) {
  if (units === null) return UNKNOWN;
  const always = ['stored', 'reserved'].filter((state) => state in units);
  const others = Object.keys(units).filter((state) => !['total', 'available', ...always].includes(state) && units[state] > 0);
  return [...always, ...others].map((state) => `${whole.format(units[state])} ${state.replace('_', ' ')}`).join(' · ');
}

function leftOf(product) {
  if (product.stock === null) return UNKNOWN;
  const total = product.account.units?.total;
  const left = total === undefined ? number(product.stock) : `${number(product.stock)} of ${number(total)}`;
  return isSeen(product) ? left : `${UNKNOWN} (${left}, ${span(product.seenMs)} ago)`;
}

// Of a fair sale; others have no line.
function inLine(product, valueOf) {
  if (isSeen(product) && product.line === null) return { text: '–', isNumber: true };
  return figure(isSeen(product) ? valueOf(product.line) : null);
}

function productCells(product) {
  const now = isSeen(product);
  const state = now ? word(product.state.replace('_', ' '), SALE_LIGHT[product.state] ?? 'quiet') : word(UNKNOWN, 'unknown');
  return [
    word(product.product),
    state,
    { text: leftOf(product), isNumber: true },
    figure(now ? history.taken(history.last, product.product) : null),
    figure(product.accepted),
    inLine(product, ({ waiting }) => waiting),
    inLine(product, () => history.called(history.last, product.product)),
    figure(now ? product.outboxOrders : null),
    { text: !now ? UNKNOWN : product.outboxOldestMs === 0 ? '–' : span(product.outboxOldestMs), isNumber: true },
    CONSERVATION[product.account.conservation],
    word(unitsOf(product.account)),
    word(''),
  ];
}

function addCloseButton(row, { product }) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'plain';
  button.textContent = 'Close…';
  button.setAttribute('aria-label', `Close the sale of ${product}`);
  button.addEventListener('click', () => close(productNamed(product)));
  row.cells[row.cells.length - 1].append(button);
}

const productNamed = (name) =>
  figures?.products.find(({ product }) => product === name) ?? { product: name, stock: null };

const reach = (downMs) => (downMs === 0 ? word('reached', 'good') : word(`away for ${span(downMs)}`, 'bad'));

function coreCells(core, index) {
  const state = core.draining ? word('draining', 'bad') : core.started ? word('serving', 'good') : word('starting', 'unknown');
  return [word(String(index)), state, reach(core.redisDownMs), reach(core.kafkaDownMs), figure(core.connections), figure(core.ordersPending)];
}

function workerCells(worker) {
  const server = (name) => {
    if (worker.ready === null) return word(UNKNOWN, 'unknown');
    return worker.reasons.some((reason) => reason.startsWith(name)) ? word('away', 'bad') : word('reached', 'good');
  };
  const state = { null: word(UNKNOWN, 'unknown'), true: word('ready', 'good'), false: word('not ready', 'bad') }[worker.ready];
  return [word(worker.address), state, server('kafka'), server('postgres'), figure(worker.partitions), figure(worker.lagRecords)];
}

// What needs an operator's eye, the worst first. Without figures that change every second: it is read out when it changes.
function attention() {
  if (figures === null) return [word('This edge does not answer: nothing below is known now', 'bad')];
  const [bad, notes] = [[], []];
  const cores = (isBad) => figures.cores.flatMap((core, index) => (isBad(core) ? [index] : [])).join(', ');
  const say = (where, text) => where !== '' && bad.push(`${text} (core ${where})`);
  say(cores((core) => core.draining), 'Draining');
  say(cores((core) => core.redisDownMs >= OUTAGE_MS), 'Redis is out of reach: orders get 503');
  say(cores((core) => core.kafkaDownMs >= OUTAGE_MS), 'Kafka is out of reach: orders get 202, then 503');
  for (const product of figures.products) {
    const [name, units] = [product.product, product.account.units];
    if (product.account.conservation === 'breach') bad.push(`${name}: more units are left than the ledger leaves`);
    if (isSeen(product) && product.state === 'suspended') bad.push(`${name} is suspended: flux-worker rebuild --product ${name}`);
    if (units?.rejected > 0) bad.push(`${name}: accepted orders were rejected by the ledger`);
    if (units?.dead_lettered > 0) bad.push(`${name}: records are kept as dead letters`);
    if (isSeen(product) && product.outboxOldestMs > OLDEST_MS_MAX) bad.push(`${name}: orders have stood undelivered for long`);
  }
  for (const { address, trouble, reasons } of figures.workers) {
    if (trouble !== null) notes.push(`Worker ${address} is unknown: ${trouble}`);
    for (const reason of reasons) bad.push(`Worker ${address}: ${reason}`);
  }
  for (const setting of figures.warnings) notes.push(`The setting ${setting} puts orders at risk (see the log)`);
  const all = [...bad.map((text) => word(text, 'bad')), ...notes.map((text) => word(text, 'warn'))];
  return all.length > 0 ? all : [word('Nothing needs attention', 'good')];
}

function showAttention() {
  const [list, found] = [element('health'), attention()];
  document.title = found.some(({ light }) => light === 'bad') ? '■ Flux-Gate' : 'Flux-Gate';
  while (list.children.length > found.length) list.lastChild.remove();
  found.forEach(({ text, light }, index) => {
    const item = list.children[index] ?? list.appendChild(document.createElement('li'));
    put(item, text, light);
  });
}

function tiles() {
  const at = history.last;
  const sums = figures === null ? null : grouped(figures.orders);
  const rate = (label, group) => ({
    label,
    value: sums === null ? UNKNOWN : number(history.answers(at, group)),
    note: sums === null ? '' : `${whole.format(sums[group])} in all`,
  });
  const latency = (label, share) => {
    const value = figures === null ? null : history.latency(at, share);
    const text = value === Infinity ? `> ${span(history.samples[at].bounds.at(-1) / 1000)}` : value === null ? '–' : `${fine.format(value)} ms`;
    return { label, value: figures === null ? UNKNOWN : text, note: `over ${QUANTILE_SPAN_S} s` };
  };
  const waiting = figures === null ? null : waitingOf(figures.products);
  const underWay = figures?.cores.reduce((sum, core) => sum + core.ordersPending, 0) ?? null;
  return [
    rate('Accepted (200)', 'accepted'),
    rate('Pending (202)', 'pending'),
    rate('Waiting room (302)', 'redirected'),
    rate('Sold out (409)', 'sold_out'),
    rate('Unavailable (503)', 'unavailable'),
    rate('Repeats, refusals', 'other'),
    { label: 'Waiting in line', value: figures === null ? UNKNOWN : waiting === null ? '–' : number(waiting), note: 'now, over all edges' },
    { label: 'Orders under way', value: number(underWay), note: 'now' },
    latency('Latency p50', 0.5),
    latency('Latency p99', 0.99),
  ];
}

function showTiles() {
  const list = element('tiles');
  tiles().forEach(({ label, value, note }, index) => {
    let tile = list.children[index];
    if (tile === undefined) {
      tile = list.appendChild(document.createElement('div'));
      tile.append(document.createElement('dt'), document.createElement('dd'), document.createElement('dd'));
      tile.lastChild.className = 'quiet';
    }
    [label, value, note].forEach((text, place) => put(tile.children[place], text));
  });
}

function show() {
  showAttention();
  showTiles();
  // Figures that are too old are taken away rather than left standing.
  const { products, cores, workers } = figures ?? { products: [], cores: [], workers: [] };
  rows(element('products'), products, ({ product }) => product, productCells, addCloseButton);
  products.forEach((product, index) => {
    element('products').rows[index].querySelector('button').hidden = isSeen(product) && product.state === 'closed';
  });
  rows(element('cores'), cores, (_, index) => String(index), coreCells);
  rows(element('workers'), workers, ({ address }) => address, workerCells);
  const leftOut = figures?.productsLeftOut ?? 0;
  put(element('left-out'), leftOut === 0 ? '' : `${whole.format(leftOut)} more products are left out, here and in /metrics: figures are told of ${whole.format(products.length)} at most, the latest sales that are not closed first.`);
  element('left-out').hidden = leftOut === 0;
  element('no-products').hidden = figures !== null && products.length > 0;
  element('no-workers').hidden = figures === null || workers.length > 0;
  if (figures === null) return;
  put(element('version'), `flux-edge ${figures.version}`);
  drawPlots(history, products);
}

const byName = (a, b) => (a.product < b.product ? -1 : 1);

async function ask(path, isWhole) {
  const response = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(POLL_PATIENCE_MS) });
  const told = response.ok ? await objectOf(response) : null;
  if (!isWhole(told)) throw new Error(`status ${response.status}`);
  return told;
}

async function poll() {
  try {
    const told = await ask('dashboard.json', isFigures);
    told.products.sort(byName);
    figures = told;
    figuresAt = performance.now();
    const at = Date.now() / 1000;
    // A page that was asleep, or is new: the edge knows what it missed. Plots without a past are better than none.
    if (history.lacks(at)) await ask('history.json', isHistory).then((past) => history.fill(past, at), () => {});
    history.add(figures, at);
    put(element('feed'), `Live, running for ${uptime(figures.runningMs)}`, 'good');
  } catch {
    if (performance.now() - figuresAt > OLD_MS_MAX) figures = null;
    put(element('feed'), 'The edge does not answer', 'bad');
  }
  show();
}

function uptime(ms) {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return 'less than a minute';
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
}

setUp(productNamed);
for (;;) {
  const begun = performance.now();
  await poll();
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, POLL_MS - (performance.now() - begun))));
}
