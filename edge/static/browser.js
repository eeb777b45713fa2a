// What the pages need of a browser: the way to the edge, rest that a laptop's sleep cannot prolong, and what is kept through
// reloads. Never decides about an order.

import { isOrderId, readSale, received } from './answer.js';
import { clockOffset, withClock } from './line.js';
import { isIdentifier, sound } from './pursue.js';

// A browser keeps a request open for minutes; after this long the outcome is unknown and the same key asks again.
const ANSWER_MS_MAX = 15_000;
// A rest looks at the clock this often, so that it ends with the sleep of a machine, and not after it.
const REST_LOOK_MS = 1_000;

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? '';

// An address from a <meta>. A colon and a port mean that port of the host that this page came from.
function address(named) {
  const full = named.startsWith(':') ? `${location.protocol}//${location.hostname}${named}/` : named;
  return new URL(full, location.href).href.replace(/\/$/, '');
}

export const brand = meta('flux-brand');
export const edge = address(meta('flux-edge'));
const ledger = meta('flux-ledger');

async function ask(url, options = {}) {
  const answer = await fetch(url, {
    cache: 'no-store',
    ...options,
    headers: { accept: 'application/json', ...options.headers },
    signal: AbortSignal.timeout(ANSWER_MS_MAX),
    credentials: 'omit',
  });
  return received(answer, Date.now());
}

let offsets = [];

// How a sale stands. The document is the same for everybody, and may come from any cache on the way.
async function look(product) {
  const answer = await ask(`${edge}/queue/${product}`, { cache: 'default' });
  const now = readSale(answer)?.now;
  if (now !== undefined) offsets = withClock(offsets, now, Date.now());
  return answer;
}

// Waits until the time has come by either of a browser's clocks: one of them may stop while the machine sleeps, the other
// may be set.
function rest(ms) {
  const wall = Date.now() + ms;
  const steady = performance.now() + ms;
  return new Promise((resolve) => {
    const due = () => Math.min(wall - Date.now(), steady - performance.now());
    let timer;
    const check = () => {
      clearTimeout(timer);
      if (due() <= 0) {
        document.removeEventListener('visibilitychange', check);
        resolve();
      } else {
        timer = setTimeout(check, Math.min(REST_LOOK_MS, due()));
      }
    };
    // Browsers hold back a hidden page's timers; a buyer who returns to it must not wait for them.
    document.addEventListener('visibilitychange', check);
    check();
  });
}

export const io = {
  send: ({ product, user, quantity, key, ticket }) =>
    ask(`${edge}/order`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-idempotency-key': key, ...(ticket ? { 'x-queue-ticket': ticket } : {}) },
      body: JSON.stringify({ productId: product, userId: user, quantity }),
    }),
  look,
  status: (product, orderId) => ask(`${edge}/order/${product}/${orderId}`),
  ledger: ledger === '' ? null : (product, orderId) => ask(`${address(ledger)}/order/${product}/${orderId}`),
  now: () => Date.now() + clockOffset(offsets),
  random: Math.random,
  rest,
  isOnline: () => navigator.onLine,
  untilOnline: () =>
    new Promise((resolve) => {
      if (navigator.onLine) resolve();
      else addEventListener('online', resolve, { once: true });
    }),
};

// A fresh identifier of 128 random bits. crypto.randomUUID would do, but exists on secure origins only.
export function newIdentifier(prefix) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return prefix + Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

// Storage that a browser may refuse: then things are remembered until the page is left.
const memory = new Map();
const storage = {
  get(name) {
    // What could not be stored is newer than what is.
    if (memory.has(name)) return memory.get(name);
    try {
      return localStorage.getItem(name);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(name, value);
      memory.delete(name);
    } catch {
      memory.set(name, value);
    }
  },
  remove(name) {
    memory.delete(name);
    try {
      localStorage.removeItem(name);
    } catch {
      // Nothing was kept there either.
    }
  },
};

// The order under way, or the last one that was accepted:
// {order, since: when it began to wait, from: its first place, orderId, state: how far it is known to be, away: it waits in
// the waiting room}. Null where there is none, or where it is not sound.
export const kept = {
  of(product) {
    try {
      const record = JSON.parse(storage.get(`flux-order:${product}`));
      const order = sound(record?.order);
      if (!order) return null;
      const { orderId, state, ...rest } = record;
      return isOrderId(orderId) ? { ...rest, order, orderId, state } : { ...rest, order };
    } catch {
      return null;
    }
  },
  put: (record) => storage.set(`flux-order:${record.order.product}`, JSON.stringify(record)),
  drop: (product) => storage.remove(`flux-order:${product}`),
};

export function user() {
  const known = storage.get('flux-user');
  if (known !== null && isIdentifier(known)) return known;
  const fresh = newIdentifier('user-');
  storage.set('flux-user', fresh);
  return fresh;
}
