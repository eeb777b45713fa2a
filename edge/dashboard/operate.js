// Opening and closing sales: nothing is sent that was not confirmed, and nothing is sent twice by itself.

import { UNKNOWN, objectOf, readOperation } from './answer.js';

// An operation is answered within seconds (twice Redis' deadline and Kafka's); after this its outcome is unknown.
const PATIENCE_MS = 30_000;
const TOKEN = 'flux-admin-token';

const element = (id) => document.getElementById(id);
const units = new Intl.NumberFormat('en');
const moment = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'long' });

const dialog = element('confirm');

function confirmed(title, text, verb, isGrave) {
  element('confirm-title').textContent = title;
  element('confirm-text').textContent = text;
  const yes = element('confirm-yes');
  yes.textContent = verb;
  yes.classList.toggle('grave', isGrave);
  dialog.showModal();
  return new Promise((resolve) => {
    const end = (answer) => () => {
      dialog.onclose = null;
      dialog.close();
      resolve(answer);
    };
    yes.onclick = end(true);
    element('confirm-no').onclick = end(false);
    dialog.onclose = end(false); // Escape
  });
}

function tell(text, light) {
  const outcome = element('outcome');
  outcome.textContent = text;
  outcome.dataset.light = light;
  outcome.scrollIntoView({ block: 'nearest' });
}

async function send(path, body) {
  const headers = { 'content-type': 'application/json' };
  const token = element('token').value;
  if (token !== '') headers.authorization = `Bearer ${token}`;
  tell('Asked …', 'unknown');
  let outcome;
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const response = await fetch(path, { method: 'POST', headers, body: JSON.stringify(body), signal });
    outcome = readOperation(response.status, await objectOf(response));
  } catch {
    outcome = { text: UNKNOWN, light: 'bad' };
  }
  tell(outcome.text, outcome.light);
  if (outcome.needsToken) element('token').focus();
}

const optional = (id) => (element(id).value === '' ? {} : { [id.slice('open-'.length)]: element(id).valueAsNumber });

async function open(productNamed) {
  const productId = element('open-product').value;
  const numbers = ['open-rate', 'open-burst', 'open-perUser'].map(optional);
  const body = Object.assign({ productId, quantity: element('open-quantity').valueAsNumber }, ...numbers);
  // Without a time zone it is the browser's, as the field shows it.
  const opens = element('open-opensAt').value === '' ? null : new Date(element('open-opensAt').value);
  if (opens) body.opensAt = opens.toISOString();
  const isFair = element('open-queue').value === 'fair';
  if (isFair) body.queue = 'fair';
  const force = element('open-force').checked;
  if (force) body.force = true;
  const known = productNamed(productId);
  const rate = body.rate === undefined ? 'the edge’s rate' : body.rate === 0 ? 'no limit' : `${units.format(body.rate)} orders a second`;
  let text = `${units.format(body.quantity)} units of ${productId} at ${rate}. `;
  text += opens ? `Buyers can order from ${moment.format(opens)} on.` : 'Buyers can order at once.';
  if (body.perUser !== undefined) text += ` Each may take ${units.format(body.perUser)}.`;
  if (isFair) text += ' A crowd waits in a fair line: by the second of arrival, and by lot within it.';
  if (force) {
    const left = known?.stock ?? null;
    text += ` A sale of it that is under way is closed${left === null ? '' : `, with ${units.format(left)} units left`}.`;
  }
  if (await confirmed(`Open a sale of ${productId}?`, text, force ? 'Replace the sale' : 'Open the sale', force)) {
    await send('init', body);
  }
}

// Asks whether to close the sale of a product, and does.
export async function close(product) {
  const left = product.stock === null ? 'The units left' : `${units.format(product.stock)} units are left; they`;
  const text = `${left} are withdrawn, and nobody can buy any more. Orders under way are still delivered. This cannot be undone.`;
  if (await confirmed(`Close the sale of ${product.product}?`, text, 'Close the sale', true)) {
    await send('close', { productId: product.product });
  }
}

// A browser may refuse to store: then the token stands in its field only.
function keep(token) {
  try {
    if (token === '') sessionStorage.removeItem(TOKEN);
    else sessionStorage.setItem(TOKEN, token);
  } catch {
    // It is still in the field.
  }
}

function kept() {
  try {
    return sessionStorage.getItem(TOKEN) ?? '';
  } catch {
    return '';
  }
}

// `productNamed` gives a product's last figures.
export function setUp(productNamed) {
  const token = element('token');
  token.value = kept();
  token.addEventListener('input', () => keep(token.value));
  element('access').addEventListener('submit', (event) => event.preventDefault());
  element('open').addEventListener('submit', (event) => {
    event.preventDefault();
    open(productNamed);
  });
}
