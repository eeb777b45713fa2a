// The plots of the last five minutes, drawn by uPlot. What is not known is a gap.

import { SPAN_S } from './history.js';

const PRODUCTS_MAX = 8;
const HEIGHT = 210;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const count = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat('en', { notation: 'compact' });
const shown = (_, value) => (value === null || value === undefined ? '–' : count.format(value));

// A line: its label, its colour, and its value at a sample.
const line = (label, stroke, value) => ({ label, stroke, value });

function answerLines(history) {
  const of = (group) => (index) => history.answers(index, group);
  return [
    line('accepted', '--plot-1', of('accepted')),
    line('pending', '--plot-2', of('pending')),
    line('waiting room', '--plot-3', of('redirected')),
    line('sold out', '--plot-4', of('sold_out')),
    line('unavailable', '--plot-5', of('unavailable')),
  ];
}

function latencyLines(history) {
  // What is beyond the last bound is drawn on it.
  const of = (share) => (index) => {
    const value = history.latency(index, share);
    return value === Infinity ? history.samples[index].bounds.at(-1) / 1000 : value;
  };
  return [line('p50', '--plot-1', of(0.5)), line('p99', '--plot-3', of(0.99))];
}

function stockLines(history, products) {
  const open = products.filter((product) => product.state !== 'closed');
  const chosen = (open.length > 0 ? open : products).slice(0, PRODUCTS_MAX);
  return chosen.map(({ product }, index) =>
    line(product, `--plot-${index + 1}`, (at) => history.samples[at].stocks[product] ?? null));
}

// Of the products that have, or had, a fair line: one line each.
function fairLines(valueOf) {
  return (history) => history.inLine.slice(0, PRODUCTS_MAX).map((product, index) =>
    line(product, `--plot-${index + 1}`, (at) => valueOf(history, at, product)));
}

const waitingLines = fairLines((history, at, product) => history.samples[at].lines[product]?.waiting ?? null);
const calledLines = fairLines((history, at, product) => history.called(at, product));

function backlogLines(history) {
  return [
    line('in the outbox (202)', '--plot-2', (index) => history.samples[index].undelivered),
    line('in the log, not in the ledger', '--plot-1', (index) => history.samples[index].lag),
  ];
}

// The powers of ten around all values.
function decades(_, least, most) {
  if (least === null) return [0.1, 1000];
  return [10 ** Math.floor(Math.log10(least)), 10 ** Math.ceil(Math.log10(most * 1.001))];
}

class Plot {
  // `hidesEmpty`: without a line it is not shown at all.
  constructor(element, linesOf, { isLogarithmic = false, hidesEmpty = false } = {}) {
    this.element = element;
    this.linesOf = linesOf;
    this.isLogarithmic = isLogarithmic;
    this.hidesEmpty = hidesEmpty;
    this.labels = null;
    new ResizeObserver(() => this.plot?.setSize({ width: element.clientWidth, height: HEIGHT })).observe(element);
  }

  build(lines) {
    this.plot?.destroy();
    this.labels = lines.map(({ label }) => label).join('\n');
    const axis = { stroke: colour('--quiet'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } };
    const series = lines.map(({ label, stroke }) => ({
      label, stroke: colour(stroke), width: 2, value: shown, points: { show: false },
    }));
    // Of a logarithmic axis only the powers of ten.
    const lined = (tick) => (!this.isLogarithmic || Number.isInteger(Math.log10(tick)) ? tick : null);
    const y = this.isLogarithmic ? { distr: 3, range: decades } : { range: (_, __, most) => [0, Math.max(10, most * 1.1)] };
    const options = {
      width: this.element.clientWidth,
      height: HEIGHT,
      cursor: { sync: { key: 'flux' }, drag: { x: false, y: false } },
      scales: { x: { range: (_, least, most) => [most - SPAN_S, most] }, y },
      axes: [
        { ...axis, values: '{HH}:{mm}:{ss}', space: 90, size: 30 },
        { ...axis, size: 56, grid: { ...axis.grid, filter: (_, ticks) => ticks.map(lined) }, values: (_, ticks) => ticks.map((tick) => (tick === null ? null : short.format(tick))) },
      ],
      series: [{ label: 'at', value: '{HH}:{mm}:{ss}' }, ...series],
    };
    this.plot = new window.uPlot(options, [[]], this.element);
  }

  draw(history, products) {
    const lines = this.linesOf(history, products);
    this.element.closest('figure').hidden = this.hidesEmpty && lines.length === 0;
    if (this.element.closest('figure').hidden) return;
    if (this.labels !== lines.map(({ label }) => label).join('\n')) this.build(lines);
    const at = history.samples.map((sample) => sample.at);
    this.plot.setData([at, ...lines.map(({ value }) => at.map((_, index) => value(index)))]);
    // The legend tells of the moment pointed at, otherwise of the last.
    if (this.plot.cursor.left === undefined || this.plot.cursor.left < 0) this.plot.setLegend({ idx: history.last });
  }

  // Colours belong to the theme.
  forget() {
    this.labels = null;
  }
}

export function createPlots() {
  const at = (name) => document.getElementById(`plot-${name}`);
  const plots = [
    new Plot(at('answers'), answerLines),
    new Plot(at('latency'), latencyLines, { isLogarithmic: true }),
    new Plot(at('stock'), stockLines),
    new Plot(at('backlog'), backlogLines),
    new Plot(at('waiting'), waitingLines, { hidesEmpty: true }),
    new Plot(at('called'), calledLines, { hidesEmpty: true }),
  ];
  let drawn = null;
  const draw = (history, products) => {
    drawn = { history, products };
    plots.forEach((plot) => plot.draw(history, products));
  };
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    plots.forEach((plot) => plot.forget());
    if (drawn) draw(drawn.history, drawn.products);
  });
  return draw;
}
