// Watches a sale for a visitor who has not ordered: seldom, and never while the page is hidden.

import { readSale } from './answer.js';
import { countdownPause, pause } from './line.js';
import { untilOpening } from './pursue.js';

// Before the opening a visitor who has not ordered is not told to keep the page open.
export const wordingOf = (step) => (step.kind !== 'countdown' ? step.kind : step.fair ? 'soonFair' : 'soon');

// While units are left the number is looked at this often; it grows from there where nothing happens.
const OPEN_TRIES = 3;

// Tells `tell` a step each time it has looked: countdown, open, sold_out, closed, suspended, no_sale, unreachable.
export async function watch(product, io, tell) {
  for (let tries = 0; ; tries += 1) {
    let rest = pause(tries + OPEN_TRIES, 0, io.random);
    if (document.hidden) {
      await new Promise((resolve) => document.addEventListener('visibilitychange', resolve, { once: true }));
    }
    try {
      const sale = readSale(await io.look(product));
      const left = sale === null ? 0 : untilOpening(sale, io.now());
      if (sale === null) tell({ kind: 'no_sale' });
      else if (left > 0) tell({ kind: 'countdown', opensAt: sale.opensAt, fair: sale.fair });
      else tell({ kind: sale.state === 'waiting' ? 'open' : sale.state, available: sale.available });
      if (left > 0) rest = countdownPause(left, io.random);
    } catch {
      tell({ kind: io.isOnline() ? 'unreachable' : 'offline' });
    }
    await io.rest(rest);
  }
}
