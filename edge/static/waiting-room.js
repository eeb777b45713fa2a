// The waiting room: pursues the order that the fragment holds; without one it shows how the sale stands. Everything it needs is
// here, so the page may come from a CDN and costs the edge nothing but the tries themselves.

import { edge, fromFragment, isIdentifier, lookAtStock, pause, pursue } from './pursue.js';

const element = (id) => document.getElementById(id);

// What the page says for each kind of outcome (pursue.js): headline, text, mood.
const texts = {
  waiting: () => ['You are waiting', 'More people want to buy than the shop lets in at once. It is not your turn yet.'],
  pending: () => ['Reserved for you', 'Your order is reserved. We are waiting for its confirmation.', 'good'],
  unavailable: () => ['The shop is catching its breath', 'Nothing was sold to you yet. We keep trying.'],
  unknown: () => ['No answer yet', 'We do not know whether the last try arrived. Trying again is safe.'],
  accepted: () => ['It is yours', 'Your order is accepted. You can close this page.', 'good'],
  sold_out: () => ['Sold out', 'Nothing is left for sale. Nothing was sold to you.', 'bad'],
  insufficient: ({ available }) => ['Not enough left', `Only ${available} left, fewer than you asked for. Go back to order fewer.`, 'bad'],
  limit_reached: () => ['Your limit is reached', 'You already have as many as one customer may buy.', 'bad'],
  refused: ({ reason }) => ['The shop refused this order', `It said: ${reason}.`, 'bad'],
};

const saleTexts = {
  scheduled: () => ['Not open yet', 'The sale has not opened.'],
  open: ({ available }) => ['The sale is open', `${available} left. Go to the shop to order.`],
  sold_out: () => ['Sold out', 'Every unit has found a buyer.', 'bad'],
  closed: () => ['The sale is over', 'No more is sold.', 'bad'],
  suspended: () => ['The sale is paused', 'The shop is checking its stock. Orders already accepted stand.'],
};

// Assistive technology reads the headline and text aloud when they change, so they are only written when they do.
function show([headline, text, mood = '']) {
  element('room').dataset.mood = mood;
  if (element('headline').textContent !== headline) element('headline').textContent = headline;
  if (element('text').textContent !== text) element('text').textContent = text;
  document.title = headline;
}

function hide(selector, hidden) {
  for (const found of document.querySelectorAll(selector)) found.hidden = hidden;
}

function minutes(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

// When this key began to wait; a reload goes on counting. Where the browser allows no storage, a reload starts anew.
function waitingSince(key) {
  try {
    const name = `flux-since:${key}`;
    const since = Number(sessionStorage.getItem(name)) || Date.now();
    sessionStorage.setItem(name, String(since));
    return since;
  } catch {
    return Date.now();
  }
}

// Shows the two times, once a second; they are not read aloud.
function showTimes(since) {
  const times = { nextTry: null, ended: false };
  const tick = () => {
    if (times.ended) return;
    if (since !== null) element('waited').textContent = minutes(Date.now() - since);
    const left = times.nextTry === null ? 0 : Math.ceil((times.nextTry - Date.now()) / 1000);
    element('next').textContent = left > 0 ? `in ${left} s` : 'now';
  };
  tick();
  setInterval(tick, 1000);
  return {
    next(time) {
      times.nextTry = time;
      tick();
    },
    end() {
      times.ended = true;
      element('next').textContent = 'none needed';
    },
  };
}

async function waitWith(order) {
  element('product').textContent = order.product;
  element('quantity').textContent = String(order.quantity);
  element('promise').hidden = false;
  show(texts.waiting());
  const times = showTimes(waitingSince(order.key));
  for await (const outcome of pursue(order)) {
    show((texts[outcome.kind] ?? texts.unknown)(outcome));
    times.next(outcome.nextTry ?? null);
    if (outcome.orderId) {
      element('order-id').textContent = outcome.orderId;
      hide('.done', false);
    }
  }
  times.end();
  element('promise').hidden = true;
}

async function watch(product) {
  element('product').textContent = product;
  hide('.order', true);
  const times = showTimes(null);
  for (let attempt = 3; ; attempt += 1) {
    try {
      const sale = await lookAtStock(product);
      if (sale === null) show(['No such sale', 'The shop does not sell this product.', 'bad']);
      else show((saleTexts[sale.state] ?? saleTexts.suspended)(sale));
    } catch {
      show(['No answer yet', 'The shop cannot be reached. We keep trying.']);
    }
    const next = pause(attempt);
    times.next(Date.now() + next);
    await new Promise((resolve) => setTimeout(resolve, next));
  }
}

const order = fromFragment(location.hash);
const named = new URLSearchParams(location.search).get('product') ?? '';
const product = order?.product ?? (isIdentifier(named) ? named : '');
element('back').href = `${edge}/${product === '' ? '' : `?product=${product}`}`;
// Another fragment is another order: begin afresh.
addEventListener('hashchange', () => location.reload());

if (order) {
  waitWith(order);
} else if (product !== '') {
  watch(product);
} else {
  element('facts').hidden = true;
  show(['The waiting room', 'Nobody sent an order with you. Go to the shop to choose something.']);
}
