// The shop: one product, the countdown, its stock, a button. An order gets its key before it is first sent and keeps it,
// through reloads too, until its outcome is known; only then can there be another.

import { brand, io, kept, newIdentifier, user } from './browser.js';
import { carry, showSold } from './order.js';
import { isIdentifier, toFragment } from './pursue.js';
import { watch, wordingOf } from './sale.js';
import { button, element, reveal, show, stockText, translate } from './view.js';

const named = new URLSearchParams(location.search).get('product') ?? '';
const product = isIdentifier(named) ? named : document.querySelector('meta[name="flux-product"]').content;

let sale = { kind: 'loading' };
let busy = false;
let ended = null; // how the last order ended that sold nothing: shown until another begins

const canOrder = () => sale.kind === 'open' || sale.kind === 'countdown';

function showForm() {
  const record = kept.of(product);
  const sold = Boolean(record?.orderId);
  // An order without an answer keeps its quantity, for which its key stands, and may be asked about after the sale too.
  const bound = record !== null && !sold;
  element('buy').disabled = busy || !(canOrder() || bound);
  button('buy', busy ? 'ordering' : bound ? 'again' : sold ? 'more' : sale.kind === 'countdown' ? 'early' : 'buy');
  element('buy').dataset.rank = sold ? 'second' : 'first';
  reveal('form', bound || busy || canOrder());
  element('quantity').disabled = busy || bound;
  if (bound) element('quantity').value = String(record.order.quantity);
  reveal('stock', !sold && sale.kind === 'open' && typeof sale.available === 'number');
  element('stock').textContent = sale.kind === 'open' ? stockText(sale.available) : '';
}

function showSale(step) {
  sale = step;
  const record = kept.of(product);
  if (!busy && !ended && record === null) show(step, wordingOf(step));
  showForm();
}

// Hands the order to the waiting room, in the fragment. Only an address of the web is followed.
function leaveFor(step, record) {
  if (typeof step.location !== 'string') return false;
  const room = new URL(step.location, location.href);
  if (!/^https?:$/.test(room.protocol)) return false;
  // In the query it would be written into logs on the way.
  room.searchParams.delete('ticket');
  room.hash = toFragment(record.order);
  // What the waiting room does with it this page is not told.
  kept.put({ ...record, order: { ...record.order, owed: true }, away: true });
  location.assign(room);
  return true;
}

async function buy(record) {
  busy = true;
  ended = null;
  show({ kind: 'ordering' });
  showForm();
  await carry({ ...record, away: undefined }, (step, now) => {
    if (step.kind === 'waiting' && leaveFor(step, now)) return true;
    if (step.kind === 'accepted') busy = false;
    showForm();
    return false;
  });
  busy = false;
  ended = kept.of(product) === null;
  showForm();
}

element('form').addEventListener('submit', (event) => {
  event.preventDefault();
  if (busy) return;
  const record = kept.of(product);
  if (record && !record.orderId) buy(record);
  else buy({ order: { product, user: user(), quantity: Number(element('quantity').value), key: newIdentifier('') } });
});

translate();
element('product').textContent = product;
document.title = `${product} – ${brand}`;
const record = kept.of(product);
if (record?.orderId) showSold(record);
else if (record?.away) show({ kind: 'kept' });
else if (record) buy(record);
// Back from the waiting room by the browser's button the page may be the old one, frozen as it left: look afresh.
addEventListener('pageshow', (event) => {
  if (event.persisted) location.reload();
});
showForm();
watch(product, io, showSale);
