// The demo storefront: one product, its stock, a button. An order gets its key before it is first sent and keeps it, through reloads
// too, until its outcome is known; only then can there be another.

import { isIdentifier, lookAtStock, newIdentifier, pause, pursue, toFragment } from './pursue.js';

const element = (id) => document.getElementById(id);

const named = new URLSearchParams(location.search).get('product') ?? '';
const product = isIdentifier(named) ? named : document.querySelector('meta[name="flux-product"]').content;

// Storage that a browser may refuse: then things are remembered until the page is left.
const memory = new Map();
const store = {
  get(name) {
    try {
      return localStorage.getItem(name);
    } catch {
      return memory.get(name) ?? null;
    }
  },
  set(name, value) {
    try {
      if (value === null) localStorage.removeItem(name);
      else localStorage.setItem(name, value);
    } catch {
      memory.set(name, value);
    }
  },
};

const orderName = `flux-order:${product}`;

function user() {
  const known = store.get('flux-user');
  if (known !== null && isIdentifier(known)) return known;
  const fresh = newIdentifier('user-');
  store.set('flux-user', fresh);
  return fresh;
}

// The order under way, or the last one that was accepted: {order, orderId?}.
function current() {
  try {
    return JSON.parse(store.get(orderName));
  } catch {
    return null;
  }
}

function remember(order, orderId) {
  store.set(orderName, JSON.stringify({ order, orderId }));
}

let selling = false; // the sale is open and has units
let busy = false;

function showForm() {
  const kept = current();
  const done = Boolean(kept?.orderId);
  // An order without an answer keeps its quantity, for which its key stands, and may be asked about after the sale too.
  const bound = kept !== null && !done;
  element('buy').textContent = busy ? 'Ordering…' : done ? 'Order another' : bound ? 'Ask again' : 'Buy';
  element('buy').disabled = busy || !(selling || bound);
  element('quantity').disabled = busy || bound;
  if (bound) element('quantity').value = String(kept.order.quantity);
}

function say(text, mood = '') {
  element('message').textContent = text;
  element('message').dataset.mood = mood;
}

const texts = {
  accepted: ({ orderId }) => [`It is yours. Order number ${orderId}`, 'good'],
  pending: ({ orderId }) => [`Reserved for you, waiting for confirmation. Order number ${orderId}`, 'good'],
  sold_out: () => ['Sold out. Nothing was sold to you.', 'bad'],
  insufficient: ({ available }) => [`Only ${available} left. Order fewer.`, 'bad'],
  limit_reached: () => ['You already have as many as one customer may buy.', 'bad'],
  refused: ({ reason }) => [`The shop refused this order: ${reason}.`, 'bad'],
  unavailable: () => ['The shop cannot sell right now. Nothing was sold to you. Trying again…'],
  unknown: () => ['No answer. Trying again with the same key, so you cannot buy twice…'],
};

// Hands the order to the waiting room, in the fragment. Only an address of the web is followed.
function leaveFor(address, order) {
  if (typeof address !== 'string') return false;
  const room = new URL(address, location.href);
  if (!/^https?:$/.test(room.protocol)) return false;
  room.hash = toFragment(order);
  location.assign(room);
  return true;
}

async function buy(order) {
  busy = true;
  remember(order);
  showForm();
  say('Ordering…');
  for await (const outcome of pursue(order)) {
    if (outcome.kind === 'waiting') {
      if (leaveFor(outcome.location, order)) return;
      say('Not your turn yet. Trying again…');
      continue;
    }
    say(...(texts[outcome.kind] ?? texts.unknown)(outcome));
    if (outcome.kind === 'accepted') remember(order, outcome.orderId);
    else if (outcome.nextTry === undefined) store.set(orderName, null);
  }
  busy = false;
  showForm();
}

element('form').addEventListener('submit', (event) => {
  event.preventDefault();
  if (busy) return;
  const kept = current();
  const quantity = Number(element('quantity').value);
  buy(kept && !kept.orderId ? kept.order : { product, user: user(), quantity, key: newIdentifier('') });
});

const saleTexts = {
  scheduled: () => 'The sale has not opened yet',
  open: ({ available }) => `${available} left`,
  sold_out: () => 'Sold out',
  closed: () => 'The sale is over',
  suspended: () => 'The sale is paused',
};

async function watchStock() {
  for (let attempt = 0; ; ) {
    // A page that nobody looks at asks nothing.
    if (!document.hidden) {
      try {
        const sale = await lookAtStock(product);
        element('stock').textContent = sale === null ? 'Not on sale' : (saleTexts[sale.state] ?? saleTexts.suspended)(sale);
        selling = sale?.state === 'open';
        attempt = selling ? 2 : attempt + 1;
      } catch {
        element('stock').textContent = 'The shop cannot be reached';
        attempt += 1;
      }
      showForm();
    }
    await new Promise((resolve) => setTimeout(resolve, pause(attempt)));
  }
}

element('product').textContent = product;
document.title = `${product}: flash sale`;
const kept = current();
if (kept?.orderId) say(...texts.accepted(kept));
else if (kept) say('An order of yours has no answer yet. Asking again with the same key is safe.');
// Back from the waiting room by the browser's button the page may be the old one, frozen as it left: look afresh.
addEventListener('pageshow', (event) => {
  if (event.persisted) location.reload();
});
showForm();
watchStock();
