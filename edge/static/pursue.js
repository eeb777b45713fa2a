// What both pages know about an order: how it is written down, sent, and pursued until there is an answer that ends the
// matter. Never touches the page; never sends one order under two keys.

const identifier = /^(?!\.{1,2}$)[A-Za-z0-9._:-]{1,64}$/;
const QUANTITY_MAX = 1000;
// A browser keeps a request open for minutes; after this long the outcome is unknown and the same key asks again.
const ANSWER_MS_MAX = 15_000;
// The outcomes after which there is nothing left to try.
const ends = new Set(['accepted', 'sold_out', 'insufficient', 'limit_reached', 'refused']);

// Where the edge is: the address in <meta name="flux-edge">, which whoever serves the page may set. A colon and a port
// mean that port of the host that the page came from; empty means its port 3000.
export const edge = (() => {
  const named = document.querySelector('meta[name="flux-edge"]')?.content || ':3000';
  const address = named.startsWith(':') ? `${location.protocol}//${location.hostname}${named}/` : named;
  return new URL(address, location.href).href.replace(/\/$/, '');
})();

export const isIdentifier = (text) => identifier.test(text);

// A fresh identifier of 128 random bits. crypto.randomUUID would do, but exists on secure origins only.
export function newIdentifier(prefix) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return prefix + Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

// The order travels between the pages in the fragment, which no browser sends to a server.
export function toFragment(order) {
  return `#${new URLSearchParams({ ...order })}`;
}

// The order that a fragment holds, or null where it holds none that the edge would take.
export function fromFragment(fragment) {
  const fields = new URLSearchParams(fragment.replace(/^#/, ''));
  const order = {
    product: fields.get('product') ?? '',
    user: fields.get('user') ?? '',
    quantity: Number(fields.get('quantity') ?? 1),
    key: fields.get('key') ?? '',
  };
  const sound =
    [order.product, order.user, order.key].every(isIdentifier) &&
    Number.isInteger(order.quantity) && order.quantity >= 1 && order.quantity <= QUANTITY_MAX;
  return sound ? order : null;
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// How long to wait before the next try, in ms: at least what the edge asks for, growing with each try up to half a
// minute, and spread, so that a crowd sent away in one second does not come back in one second.
export function pause(attempt, retryAfterSeconds = 0) {
  const growing = Math.min(20_000, 1000 * 1.4 ** Math.min(attempt, 20));
  return 1000 * retryAfterSeconds + growing * (0.5 + Math.random());
}

async function ask(path, options = {}) {
  const answer = await fetch(edge + path, {
    ...options,
    headers: { accept: 'application/json', ...options.headers },
    signal: AbortSignal.timeout(ANSWER_MS_MAX),
    cache: 'no-store',
    credentials: 'omit',
  });
  const retryAfter = Number(answer.headers.get('retry-after'));
  const body = await answer.json().catch(() => ({}));
  return { status: answer.status, body, retryAfter: Number.isFinite(retryAfter) ? retryAfter : 1 };
}

// The state of a sale, {available, state}; null for a product that the edge does not know. Throws where there is no answer.
export async function lookAtStock(product) {
  const { status, body } = await ask(`/stock/${product}`);
  if (status === 404) return null;
  if (status !== 200) throw new Error(`stock: ${status}`);
  return body;
}

// Sends the order once. A kind that does not end the matter says what to believe meanwhile: pending (it is ours, not
// yet confirmed), waiting (not our turn), unavailable (nothing was sold), unknown (it may have been).
async function send({ product, user, quantity, key }) {
  let answer;
  try {
    answer = await ask('/order', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-idempotency-key': key },
      body: JSON.stringify({ productId: product, userId: user, quantity }),
    });
  } catch {
    return { kind: 'unknown', retryAfter: 0 };
  }
  const { status, body, retryAfter } = answer;
  switch (status) {
    case 200:
      return { kind: 'accepted', orderId: body.orderId };
    case 202:
      return { kind: 'pending', orderId: body.orderId, retryAfter };
    case 409:
      return { kind: ends.has(body.status) ? body.status : 'sold_out', available: body.available };
    case 429:
      return { kind: 'waiting', location: body.location, retryAfter };
    case 503:
      return { kind: body.status === 'unknown' ? 'unknown' : 'unavailable', retryAfter };
    default:
      // A gateway in between may lose an answer; what the edge itself refuses is refused for good.
      return status >= 500 ? { kind: 'unknown', retryAfter } : { kind: 'refused', reason: body.error ?? `HTTP ${status}` };
  }
}

// Follows a reserved order until Kafka has it. Null where the edge knows no such order any more: a repeat tells.
async function* confirm(product, orderId) {
  for (let attempt = 0; ; attempt += 1) {
    const next = pause(attempt, 1);
    yield { kind: 'pending', orderId, nextTry: Date.now() + next };
    await sleep(next);
    const answer = await ask(`/order/${product}/${orderId}`).catch(() => null);
    if (answer?.status === 404) return;
    if (answer?.status === 200 && answer.body.status !== 'pending') {
      yield { kind: 'accepted', orderId };
      return;
    }
  }
}

// Tries the order under its one key until something ends the matter; yields where it stands after every step, the last
// one being the end.
export async function* pursue(order) {
  for (let attempt = 0; ; attempt += 1) {
    const outcome = await send(order);
    if (outcome.kind === 'pending') {
      for await (const step of confirm(order.product, outcome.orderId)) {
        yield step;
        if (ends.has(step.kind)) return;
      }
      continue;
    }
    if (ends.has(outcome.kind)) {
      yield outcome;
      return;
    }
    const next = pause(attempt, outcome.retryAfter);
    yield { ...outcome, nextTry: Date.now() + next };
    await sleep(next);
  }
}
