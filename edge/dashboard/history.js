// What the dashboard remembers: the figures of the last five minutes, and what follows from them. Counters only rise, so every
// rate is a difference of two samples; where an edge has restarted or a sample is missing there is none: null, never zero.

export const SPAN_S = 300;
// Quantiles are taken over the last so many seconds: over one second a handful of orders would say nothing.
export const QUANTILE_SPAN_S = 10;
// Two samples further apart leave a gap.
const GAP_MS_MAX = 5000;
const SAMPLES_MAX = SPAN_S + QUANTILE_SPAN_S;

// How outcomes are shown together; what stands in no group is 'other'.
const groupOf = (outcome) => {
  if (outcome.startsWith('unavailable') || outcome === 'unknown') return 'unavailable';
  return ['accepted', 'pending', 'redirected', 'sold_out'].includes(outcome) ? outcome : 'other';
};

export function grouped(orders) {
  const sums = { accepted: 0, pending: 0, redirected: 0, sold_out: 0, unavailable: 0, other: 0 };
  for (const [outcome, count] of Object.entries(orders)) sums[groupOf(outcome)] += count;
  return sums;
}

// Records that the ledger does not hold yet: null where a worker that is watched does not tell.
export function lagOf(workers) {
  if (workers.length === 0 || workers.some((worker) => worker.lagRecords === null)) return null;
  return workers.reduce((sum, worker) => sum + worker.lagRecords, 0);
}

// A product's figures are looked at every second; older ones are not shown as if they were now.
const SEEN_MS_MAX = 5000;

export const isSeen = (product) => product.seenMs !== null && product.seenMs <= SEEN_MS_MAX;

function sampleOf(figures, at) {
  const known = figures.products.filter(isSeen);
  const isWhole = known.length > 0 && known.length === figures.products.length;
  return {
    at,
    runningMs: figures.runningMs,
    orders: grouped(figures.orders),
    bounds: figures.latency.boundsUs,
    counts: figures.latency.counts,
    undelivered: isWhole ? known.reduce((sum, product) => sum + product.outboxOrders, 0) : null,
    lag: lagOf(figures.workers),
    stocks: Object.fromEntries(known.map((product) => [product.product, product.stock])),
    lines: Object.fromEntries(known.filter(({ line }) => line !== null).map(({ product, line }) => [product, line])),
  };
}

// How many wait in the lines of all fair sales: null where there is none.
export function waitingOf(products) {
  const lines = products.filter((product) => isSeen(product) && product.line !== null);
  return lines.length === 0 ? null : lines.reduce((sum, { line }) => sum + line.waiting, 0);
}

// The value below which a share of the observations lies, in ms, taken to be spread evenly in its bucket; Infinity in the last
// bucket, which has no upper bound; null without observations.
export function quantile(share, boundsUs, counts) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let left = share * total;
  for (const [bucket, count] of counts.entries()) {
    if (count > 0 && left <= count) {
      if (bucket === boundsUs.length) return Infinity;
      const from = bucket === 0 ? 0 : boundsUs[bucket - 1];
      return (from + (boundsUs[bucket] - from) * (left / count)) / 1000;
    }
    left -= count;
  }
  return Infinity;
}

export class History {
  // Oldest first.
  samples = [];

  constructor(kept) {
    if (Array.isArray(kept)) this.samples = kept.slice(-SAMPLES_MAX);
  }

  // `at`: seconds since 1970, of this browser.
  add(figures, at) {
    this.samples.push(sampleOf(figures, at));
    this.samples = this.samples.filter((sample) => sample.at > at - SAMPLES_MAX && sample.at <= at);
  }

  // The sample before this one, where a difference to it means something.
  before(index) {
    const [sample, before] = [this.samples[index], this.samples[index - 1]];
    const apart = before && sample ? sample.runningMs - before.runningMs : -1;
    return apart > 0 && apart <= GAP_MS_MAX ? before : null;
  }

  perSecond(index, value) {
    const before = this.before(index);
    if (before === null) return null;
    const [now, then] = [value(this.samples[index]), value(before)];
    if (now === undefined || then === undefined) return null;
    return ((now - then) * 1000) / (this.samples[index].runningMs - before.runningMs);
  }

  answers(index, group) {
    return this.perSecond(index, (sample) => sample.orders[group]);
  }

  // Units taken a second; a stock that rose is another sale's, or got units back.
  taken(index, product) {
    const rate = this.perSecond(index, (sample) => sample.stocks[product]);
    return rate === null || rate > 0 ? null : Math.abs(rate);
  }

  // Visitors called a second; a count that fell is another sale's.
  called(index, product) {
    const rate = this.perSecond(index, (sample) => sample.lines[product]?.called);
    return rate === null || rate < 0 ? null : rate;
  }

  // The products that had a line in these minutes.
  get inLine() {
    return [...new Set(this.samples.flatMap(({ lines }) => Object.keys(lines)))].sort();
  }

  latency(index, share) {
    const sample = this.samples[index];
    let first = index;
    while (this.before(first) && sample.runningMs - this.samples[first - 1].runningMs <= QUANTILE_SPAN_S * 1000) first -= 1;
    if (first === index) return null;
    const counts = sample.counts.map((count, bucket) => count - this.samples[first].counts[bucket]);
    return quantile(share, sample.bounds, counts);
  }

  get last() {
    return this.samples.length - 1;
  }
}
