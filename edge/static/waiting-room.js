// The waiting room: carries on the order that the fragment holds, or the one this browser has kept; without one it shows how the
// sale stands. Everything it needs is here, so the page may come from a CDN.

import { isTicket } from './answer.js';
import { edge, io, kept } from './browser.js';
import { carry, showSold } from './order.js';
import { fromFragment, isIdentifier } from './pursue.js';
import { watch, wordingOf } from './sale.js';
import { element, reveal, show, translate } from './view.js';

const query = new URLSearchParams(location.search);
const named = query.get('product') ?? '';
const brought = fromFragment(location.hash);
const product = brought?.product ?? (isIdentifier(named) ? named : '');

// What this browser has kept of the same order knows more than the address: a ticket, an outcome.
function recordOf(order) {
  const record = kept.of(product);
  if (order === null) return record;
  if (record && record.order.key === order.key && record.order.user === order.user) {
    return { ...record, order: { ...record.order, owed: record.order.owed || order.owed } };
  }
  const ticket = order.ticket ?? query.get('ticket') ?? '';
  return { order: isTicket(ticket) ? { ...order, ticket } : order };
}

translate();
const shop = new URL(edge.endsWith('/') ? edge : `${edge}/`);
if (product !== '') shop.searchParams.set('product', product);
element('shop').href = shop;
// Another fragment is another order: begin afresh.
addEventListener('hashchange', () => location.reload());

const record = product === '' ? null : recordOf(brought);
reveal('facts', record !== null);
if (record) {
  element('product').textContent = product;
  element('quantity').textContent = String(record.order.quantity);
  if (record.orderId) showSold(record);
  else carry(record);
} else if (product !== '') {
  element('product').textContent = product;
  watch(product, io, (step) => show(step, wordingOf(step)));
} else {
  show({ kind: 'no_order' });
}
