// What the dashboard knows of the last five minutes: the edge's own samples from before the page was opened, the figures since,
// and what follows from them. Counters only rise, so every rate is a difference of two samples; where an edge has restarted or
// a sample is missing there is none: null, never zero.

export const SPAN_S = 300;
// Quantiles are taken over the last so many seconds: over one second a handful of orders would say nothing.
export const QUANTILE_SPAN_S = 10;
// Two samples further apart leave a gap. The edge takes one every five seconds.
export const GAP_MS_MAX = 7_500;
const KEPT_S = SPAN_S + QUANTILE_SPAN_S;

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

// A product's figures are looked at every second; older ones are not shown as if they were now.
const SEEN_MS_MAX = 5000;

export const isSeen = (product) => product.seenMs !== null && product.seenMs <= SEEN_MS_MAX;

function sampleOf({ runningMs, orders, counts, bounds, undelivered, lag, products }, at) {
  return {
    at,
    runningMs,
    orders: grouped(orders),
    bounds,
    counts,
    undelivered,
    lag,
    stocks: Object.fromEntries(products.map(({ product, stock }) => [product, stock])),
    lines: Object.fromEntries(products.filter(({ line }) => line !== null).map(({ product, line }) => [product, line])),
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

  // `told`: the edge's samples, in place of all that are here. `at`: seconds since 1970, of this browser.
  fill({ runningMs, boundsUs, samples }, at) {
    const of = (sample) => sampleOf({ ...sample, bounds: boundsUs }, at - (runningMs - sample.runningMs) / 1000);
    this.samples = samples.map(of).filter((sample) => sample.at > at - KEPT_S && sample.at <= at);
  }

  // Whether nothing, or not enough, is known of the time before `at`.
  lacks(at) {
    return this.samples.length === 0 || at - this.samples.at(-1).at > GAP_MS_MAX / 1000;
  }

  add(figures, at) {
    const { latency, products } = figures;
    this.samples.push(sampleOf({ ...figures, counts: latency.counts, bounds: latency.boundsUs, products: products.filter(isSeen) }, at));
    this.samples = this.samples.filter((sample) => sample.at > at - KEPT_S && sample.at <= at);
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
    // Not told, or not known.
    if (typeof now !== 'number' || typeof then !== 'number') return null;
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
