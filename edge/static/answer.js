// What an answer is worth. Gateways, firewalls and challenge pages stand on one origin with the edge and answer in its place,
// with any status: so only JSON that docs/SPEC.md gives to the edge (or the worker) decides anything, and all else is unknown.
// Never asks anybody, and never takes "not known" for "not sold".

// An order's id: a UUID of version 8, in lower case.
const ORDER_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const TICKET = /^[\x21-\x7e]{1,512}$/;
// The edge asks for a second. A gateway may ask for a day, and a buyer's order must not sleep through the sale.
const RETRY_AFTER_S_MAX = 60;
const SALE_STATES = new Set(['waiting', 'open', 'sold_out', 'closed']);

const isCount = (value) => Number.isSafeInteger(value) && value >= 0;

export const isOrderId = (text) => typeof text === 'string' && ORDER_ID.test(text);
export const isTicket = (text) => typeof text === 'string' && TICKET.test(text);

// What a fetch brought, as everything below takes it: {status, body: the object that it is in JSON, else null, retryAfter:
// seconds}. `now`: ms since 1970.
export async function received(response, now) {
  const retryAfter = secondsUntilRetry(response.headers.get('retry-after'), now);
  return { status: response.status, body: await objectOf(response), retryAfter };
}

async function objectOf(response) {
  const [type] = (response.headers.get('content-type') ?? '').split(';');
  if (type.trim().toLowerCase() !== 'application/json') return null;
  // What was cut off on the way is no answer either.
  const body = await response.json().catch(() => null);
  return typeof body === 'object' && !Array.isArray(body) ? body : null;
}

// The field's two forms (RFC 9110 section 10.2.3), within bounds; 0 where it is neither.
export function secondsUntilRetry(field, now) {
  const text = field?.trim() ?? '';
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - now) / 1000;
  return Number.isNaN(seconds) ? 0 : Math.min(RETRY_AFTER_S_MAX, Math.max(0, seconds));
}

// The edge's refusals say nothing but why, and the same in the members of RFC 9457 (an older edge leaves those out, and a
// page stays open while edges are changed); the objects of others say more, or something else.
const isRefusal = (body) => {
  const members = typeof body?.error === 'string' ? Object.keys(body).length : 0;
  return members === 1 || (members === 5 && body.type === 'about:blank' && typeof body.title === 'string' && Number.isInteger(body.status) && body.detail === body.error);
};
const isUnknownProduct = ({ status, body }) => status === 404 && isRefusal(body) && body.error === 'Unknown product';

// What the answer to an order means. Kinds that end nothing say what to believe meanwhile: pending (it is ours, not yet
// confirmed), waiting (not our turn), unavailable (nothing was sold), unknown (it may have been). `owed`: it may have been sold
// by a try before. Then a 400 is somebody else's: the edge, which took that try, would have refused it too.
export function readAnswer(answer, owed = false) {
  return toldByEdge(answer, owed) ?? { kind: 'unknown', retryAfter: answer.retryAfter };
}

function toldByEdge(answer, owed) {
  const { status, body, retryAfter } = answer;
  switch (typeof body?.status === 'string' ? `${status} ${body.status}` : '') {
    case '200 success':
      return isOrderId(body.orderId) ? { kind: 'accepted', orderId: body.orderId } : null;
    case '202 pending':
      return isOrderId(body.orderId) ? { kind: 'pending', orderId: body.orderId, retryAfter } : null;
    case '409 sold_out':
    case '409 limit_reached':
      return { kind: body.status };
    case '409 insufficient':
      return isCount(body.available) ? { kind: body.status, available: body.available } : null;
    case '429 waiting':
      return { kind: 'waiting', location: body.location, ticket: isTicket(body.ticket) ? body.ticket : null, retryAfter };
    case '429 limited':
    case '503 unavailable':
      return typeof body.msg === 'string' ? { kind: 'unavailable', retryAfter } : null;
  }
  const isFinal = (status === 400 && !owed) || status === 422 || isUnknownProduct(answer);
  return isFinal && isRefusal(body) ? { kind: 'refused', reason: body.error } : null;
}

// How far the edge says that an order is: 'pending', 'accepted', 'forgotten' (a repeat tells); null where it says nothing.
export function readStatus({ status, body }, orderId) {
  if (status === 404 && isRefusal(body) && body.error === 'Unknown order') return 'forgotten';
  const isTold = status === 200 && body?.orderId === orderId && ['pending', 'accepted'].includes(body.status);
  return isTold ? body.status : null;
}

// What the ledger holds of an order, {kind: 'stored' or 'rejected', reason}; null where it does not say.
export function readLedger({ status, body }, orderId) {
  const isTold = status === 200 && body?.orderId === orderId && ['stored', 'rejected'].includes(body.status);
  return isTold ? { kind: body.status, reason: body.reason } : null;
}

// What is known of a sale (GET /queue; fair: it has a line). Null: no such sale. Throws where that was not told.
export function readSale(answer) {
  const { status, body } = answer;
  if (isUnknownProduct(answer)) return null;
  if (status === 503 && body?.status === 'unavailable' && body.msg === 'Sale suspended') return { fair: false, state: 'suspended', opensAt: 0 };
  if (status !== 200 || !isSale(body)) throw new Error(`the sale: HTTP ${status}`);
  const { state, opensAt, now, rate, available, watermark, issued, seedHash } = body;
  return { fair: watermark !== undefined, state, opensAt, now, rate, available, watermark, issued, seedHash };
}

function isSale(body) {
  const isWhole = body !== null && SALE_STATES.has(body.state) && [body.opensAt, body.now, body.rate, body.available].every(isCount);
  return isWhole && (body.queue === 'retry' ? body.watermark === undefined : isLine(body));
}

const isLine = ({ watermark, issued, seedHash }) =>
  isCount(watermark?.slot) && isCount(watermark.rank) && Array.isArray(issued) && issued.every(isCount) && typeof seedHash === 'string';
