// Pursues an order on a page: shows each step, keeps what a reload must find again, and follows an accepted order into
// the ledger. The same on both pages; only a buyer who comes too early, or with too many others, is sent from the shop
// to the waiting room.

import { io, kept } from './browser.js';
import { ENDS, follow, pursue } from './pursue.js';
import { show } from './view.js';

// An order that ended without a sale is not kept: the next one gets a key of its own.
const SOLD = new Set(['accepted', 'stored']);

function wordingOf(step) {
  // "Nothing was sold to you" is not known of an order that may have been sold before.
  if (step.kind === 'unavailable' && step.order?.owed) return 'unknown';
  return step.kind === 'countdown' && step.fair ? 'early' : step.kind;
}

// Shows where an accepted order stands until nothing more is to be told.
export async function showSold(record) {
  show({ kind: record.state, orderId: record.orderId });
  if (record.state !== 'accepted') return;
  for await (const step of follow(record.order.product, record.orderId, io)) {
    kept.put({ ...record, state: step.kind });
    show(step);
  }
}

// Pursues `record.order` to its end. `handOver(step)`: whether the order goes on elsewhere, and this page has nothing to do
// with it any more.
export async function carry(record, handOver = () => false) {
  let now = { ...record, since: record.since ?? Date.now() };
  kept.put(now);
  for await (const step of pursue(record.order, io)) {
    if (step.order) now = { ...now, order: { ...step.order } };
    if (step.kind === 'sending') {
      kept.put(now);
      continue;
    }
    if (step.kind === 'line' && step.position !== null) now = { ...now, from: Math.max(now.from ?? 0, step.position) };
    if (SOLD.has(step.kind)) now = { ...now, orderId: step.orderId, state: step.kind };
    if (ENDS.has(step.kind) && !SOLD.has(step.kind)) kept.drop(now.order.product);
    else kept.put(now);
    if (handOver(step, now)) return;
    if (!SOLD.has(step.kind)) show({ ...step, from: now.from, since: now.since }, wordingOf(step));
  }
  if (SOLD.has(now.state)) await showSold(now);
}
