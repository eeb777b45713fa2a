// What both pages show, and how they tell it to a buyer who does not see it. It is handed steps (pursue.js) and knows
// nothing else of an order.

import { brand, io } from './browser.js';
import { texts } from './texts.js';

// A moving line is told aloud this often, not with every look.
const ALOUD_EVERY_MS = 30_000;
// Steps that a reader must not miss: the focus moves to their headline.
const DECISIVE = new Set(['called', 'accepted', 'rejected', 'sold_out', 'closed', 'insufficient', 'limit_reached', 'refused']);

export const element = (id) => document.getElementById(id);

const language = navigator.languages.map((tag) => [tag, tag.split('-')[0]]).flat().find((tag) => texts[tag]) ?? 'en';
const words = texts[language];
const number = new Intl.NumberFormat(language);
const plural = new Intl.PluralRules(language);

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
const counted = (forms, count) => fill(forms[plural.select(count)] ?? forms.other, { count: number.format(count) });

// Written only when it changes: what is written again would be read aloud again.
function write(id, text) {
  const target = element(id);
  if (target && target.textContent !== text) target.textContent = text;
}

export function reveal(id, shown) {
  const target = element(id);
  if (target) target.hidden = !shown;
}

export function clockText(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

function expectedText(ms) {
  if (ms === null) return words.expected.still;
  if (ms < 2_000) return words.expected.now;
  // Seconds of a minute cannot be promised, so they are given in steps of five.
  const seconds = Math.ceil(ms / 1000);
  if (seconds < 60) return counted(words.expected.seconds, seconds < 10 ? seconds : Math.ceil(seconds / 5) * 5);
  return counted(words.expected.minutes, Math.ceil(seconds / 60));
}

// Puts the language's words where a page names them.
export function translate() {
  document.documentElement.lang = language;
  for (const found of document.querySelectorAll('[data-label]')) found.textContent = words.labels[found.dataset.label];
  for (const found of document.querySelectorAll('[data-button]')) found.textContent = words.buttons[found.dataset.button];
}

let current = { kind: 'loading' };
let name = 'loading'; // of the texts that are shown
let aloudAt = 0;

function announce(text) {
  aloudAt = Date.now();
  write('aloud', text);
}

// Shows a step. `wording`: other texts than those of its kind.
export function show(step, wording = step.kind) {
  const isNew = wording !== name;
  current = step;
  name = wording;
  const { headline, text, mood = '' } = words.steps[wording] ?? words.steps.unknown;
  element('card').dataset.mood = mood;
  element('card').dataset.step = step.kind;
  const values = { ...step, available: number.format(step.available ?? 0) };
  write('headline', headline);
  write('text', fill(text, values));
  const position = hasPosition(step) ? `${number.format(step.position)}. ` : '';
  document.title = position + fill(words.title, { headline, brand });
  reveal('countdown', step.kind === 'countdown');
  showLine(step);
  showNext(wording);
  showWay(step);
  tick();
  if (isNew) {
    announce(`${headline} – ${fill(text, values)}`);
    if (DECISIVE.has(step.kind)) element('headline').focus();
  }
}

// No number is known before everybody of the same second was counted.
const hasPosition = (step) => step.kind === 'line' && step.position !== null;

function showLine(step) {
  reveal('line', hasPosition(step));
  if (!hasPosition(step)) return;
  write('position', number.format(step.position));
  write('speed', counted(words.perMinute, Math.round(step.perSecond * 60)));
  write('expected', expectedText(step.expectedMs));
  const progress = element('progress');
  progress.max = Math.max(step.from ?? step.position, step.position);
  progress.value = progress.max - step.position;
  if (Date.now() - aloudAt > ALOUD_EVERY_MS) {
    announce(fill(words.aloud.line, { position: number.format(step.position), expected: expectedText(step.expectedMs) }));
  }
}

function showNext(wording) {
  const sentences = words.next[wording] ?? [];
  reveal('next', sentences.length > 0 && element('next') !== null);
  const list = element('next-list');
  if (!list || list.dataset.of === wording) return;
  list.dataset.of = wording;
  list.replaceChildren(...sentences.map((sentence) => Object.assign(document.createElement('li'), { textContent: sentence })));
}

// The three stations of an order, and which of them it has reached.
const STATIONS = ['reserved', 'accepted', 'stored'];
const REACHED = { pending: 1, accepted: 2, stored: 3 };

function showWay(step) {
  const reached = REACHED[step.kind] ?? 0;
  reveal('way', reached > 0);
  if (!reached && step.kind !== 'rejected') return;
  for (const [index, station] of STATIONS.entries()) {
    const item = element(`way-${station}`);
    item.dataset.done = String(index < reached);
    item.textContent = words.way[station];
    if (index === reached - 1) item.setAttribute('aria-current', 'step');
    else item.removeAttribute('aria-current');
    reveal(`way-${station}`, station !== 'stored' || io.ledger !== null || reached === 3);
  }
  write('order-id', step.orderId ?? '');
  reveal('order-row', Boolean(step.orderId));
}

// The times, once a second. They are not read aloud.
function tick() {
  if (current.kind === 'countdown') {
    const seconds = Math.max(0, Math.ceil((current.opensAt - io.now()) / 1000));
    const parts = { days: Math.floor(seconds / 86_400), hours: Math.floor(seconds / 3_600) % 24, minutes: Math.floor(seconds / 60) % 60, seconds: seconds % 60 };
    for (const [part, value] of Object.entries(parts)) write(part, part === 'days' ? number.format(value) : String(value).padStart(2, '0'));
    reveal('days-part', parts.days > 0);
    const opens = new Date(current.opensAt);
    write('opens', new Intl.DateTimeFormat(language, { dateStyle: 'full', timeStyle: 'short' }).format(opens));
    element('opens').dateTime = opens.toISOString();
  }
  const waits = typeof current.nextTry === 'number';
  reveal('next-try-row', waits);
  if (waits) {
    const seconds = Math.ceil((current.nextTry - io.now()) / 1000);
    write('next-try', seconds > 0 ? counted(words.nextTry.later, seconds) : words.nextTry.now);
  }
  const since = current.since;
  reveal('waited-row', since !== undefined && waits);
  if (since !== undefined) write('waited', clockText(Date.now() - since));
}

setInterval(tick, 1000);

export const button = (id, wording) => write(id, words.buttons[wording]);
export const stockText = (available) => counted(words.left, available);
