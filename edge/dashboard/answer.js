// What an answer is worth. A gateway or a login page in front of the edge answers in its place, with any status: only JSON that
// is the edge's own is shown as figures, and only such an answer says what became of an operation. Never asks anybody.

export const UNKNOWN = 'No answer of the edge: whether it was done is unknown. Look at the sale before you ask again.';

// The object that a fetch brought in JSON, else null.
export async function objectOf(response) {
  const [type] = (response.headers.get('content-type') ?? '').split(';');
  if (type.trim().toLowerCase() !== 'application/json') return null;
  const body = await response.json().catch(() => null);
  return typeof body === 'object' && !Array.isArray(body) ? body : null;
}

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const isCounts = (value) => Array.isArray(value) && value.every(Number.isFinite);

// Whether an object holds the figures of an edge.
export function isFigures(told) {
  return Number.isFinite(told?.runningMs) && isObject(told.orders) && isCounts(told.latency?.counts) && isCounts(told.latency.boundsUs)
    && ['cores', 'products', 'workers', 'warnings'].every((name) => Array.isArray(told[name]));
}

// Whether an object holds an edge's samples of the last minutes.
export function isHistory(told) {
  const isSample = (sample) => Number.isFinite(sample?.runningMs) && isObject(sample.orders) && isCounts(sample.counts) && Array.isArray(sample.products);
  return Number.isFinite(told?.runningMs) && isCounts(told.boundsUs) && Array.isArray(told.samples) && told.samples.every(isSample);
}

// As the pages' answer.js: the edge's refusals say nothing but why, and the same in the members of RFC 9457.
function isRefusalBody(body) {
  const members = typeof body?.error === 'string' ? Object.keys(body).length : 0;
  return members === 1 || (members === 5 && body.type === 'about:blank' && typeof body.title === 'string' && Number.isInteger(body.status) && body.detail === body.error);
}

// What an answer to /init or /close says, {text, light, needsToken}. What is not the edge's own says nothing.
export function readOperation(status, body) {
  if (status === 200 && body?.status === 'ok' && typeof body.msg === 'string') return { text: body.msg, light: 'good' };
  if (status === 503 && body?.status === 'unavailable' && typeof body.msg === 'string') return { text: `${body.msg}. Nothing was done.`, light: 'bad' };
  const isRefusal = isRefusalBody(body);
  if (status === 401 && isRefusal) return { text: 'The operator token is missing or wrong. Nothing was done.', light: 'bad', needsToken: true };
  if (status >= 400 && status < 500 && isRefusal) return { text: body.error, light: 'bad' };
  return { text: UNKNOWN, light: 'bad' };
}
