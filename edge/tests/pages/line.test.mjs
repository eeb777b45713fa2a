// The line's arithmetic. Run by edge/tests/pages.rs, or by hand: node --test edge/tests/pages/

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as line from '../../static/line.js';

const HALF = 2 ** 31;
const sale = (more) => ({ now: 0, rate: 100, watermark: { slot: 0, rank: 0 }, issued: [1000, 500, 200], ...more });

test('a place is called once the watermark has passed it: by slot first, then by rank', () => {
  const watermark = { slot: 1, rank: 50 };
  for (const [slot, rank, called] of [[0, 2 ** 32 - 1, true], [1, 49, true], [1, 50, false], [1, 51, false], [2, 0, false]]) {
    assert.equal(line.isCalled({ slot, rank }, watermark), called, `${slot} ${rank}`);
  }
  assert.equal(line.isCalled({ slot: 0, rank: 0 }, { slot: 0, rank: 0 }), false);
});

test('a position counts the slots from the watermark on and its share of its own', () => {
  assert.equal(line.position({ slot: 0, rank: 0 }, sale()), 1);
  assert.equal(line.position({ slot: 0, rank: HALF }, sale()), 501);
  assert.equal(line.position({ slot: 1, rank: HALF }, sale()), 1251);
  assert.equal(line.position({ slot: 5, rank: HALF }, sale({ watermark: { slot: 4, rank: HALF }, issued: [500, 200] })), 351);
  assert.equal(line.position({ slot: 9, rank: 1 }, sale({ issued: [] })), 1, 'never less than first');
});

test('positions fall as the watermark moves and never depend on who came later', () => {
  const place = { slot: 1, rank: 3 * 2 ** 30 };
  let last = Infinity;
  for (let rank = 0; rank < 2 ** 32; rank += 2 ** 28) {
    const here = line.position(place, sale({ watermark: { slot: 0, rank }, issued: [1000, 500, rank % 997] }));
    assert.ok(here <= last);
    last = here;
  }
});

test('no number is shown before the second of the ticket was counted, and then it only falls', () => {
  const opensAt = 1_000_000;
  const place = { slot: 3, rank: HALF };
  const at = (now, more) => sale({ now, opensAt, issued: [20, 10], watermark: { slot: 1, rank: 0 }, ...more });
  // The document does not count the third second yet: 30 stand before it, and it would say so only when it does.
  for (const now of [opensAt + 2_000, opensAt + 2_999, opensAt + 3_299]) assert.equal(line.shownPosition(place, at(now)), null);
  let shown = line.shownPosition(place, at(opensAt + 3_300, { issued: [20, 10, 8] }));
  assert.equal(shown, 35);
  // Late reports, another edge's older document, a watermark that a failover has set back, a clock that was: never more.
  for (const more of [{ issued: [20, 10, 40] }, { issued: [200, 10, 8] }, { watermark: { slot: 0, rank: 0 }, issued: [900, 20, 10, 8] }, { now: 0 }]) {
    shown = line.shownPosition(place, at(opensAt + 4_000, more), shown);
    assert.equal(shown, 35, JSON.stringify(more));
  }
  assert.equal(line.shownPosition(place, at(opensAt + 5_000, { issued: [20, 10, 8], watermark: { slot: 1, rank: HALF } }), shown), 25);
  // Before the opening everybody who comes draws a lot among the same: there is no number.
  const first = { slot: 0, rank: HALF };
  assert.equal(line.shownPosition(first, sale({ now: opensAt - 1, opensAt })), null);
  assert.equal(line.shownPosition(first, sale({ now: opensAt + 300, opensAt })), 501);
});

test('the speed is what was seen, and what is promised until enough was', () => {
  let looks = line.withLook([], 1000, 1000);
  assert.equal(line.perSecond(looks, 100), 100);
  looks = line.withLook(looks, 1000, 1000);
  assert.equal(looks.length, 1, 'the same document twice is one look');
  looks = line.withLook(looks, 11_000, 500);
  assert.equal(line.perSecond(looks, 100), 50);
  for (let now = 12_000; now <= 90_000; now += 1000) looks = line.withLook(looks, now, 500);
  assert.equal(line.perSecond(looks, 100), 0, 'it stands still now');
  assert.ok(looks.length <= 62, 'and what is old is forgotten');
  assert.equal(line.perSecond([{ now: 0, ahead: 5 }, { now: 9000, ahead: 7 }], 1), 0, 'never backwards');
  assert.equal(line.expectedMs(500, 0), null);
  assert.equal(line.expectedMs(500, 50), 10_000);
});

test('looks come each second near the front, seldom far away, and spread', () => {
  for (const [expected, least, most] of [[0, 750, 1250], [2000, 750, 1250], [40_000, 3750, 6250], [3_600_000, 7500, 12_500], [null, 7500, 12_500]]) {
    assert.equal(line.lookPause(expected, () => 0), least);
    assert.equal(line.lookPause(expected, () => 1), most);
  }
});

test('a countdown is looked at seldom, and ends in time', () => {
  for (const random of [() => 0, () => 0.5, () => 1]) {
    for (const left of [0, 500, 5_000, 60_000, 86_400_000]) {
      const rest = line.countdownPause(left, random);
      assert.ok(rest <= left && rest <= 60_000, `${left}: ${rest}`);
      assert.ok(left < 30_000 || rest >= 30_000, 'seldom');
    }
  }
});

test('the freshest document sets the clock', () => {
  let offsets = [];
  assert.equal(line.clockOffset(offsets), 0);
  for (const age of [900, 100, 700]) offsets = line.withClock(offsets, 50_000 - age, 20_000);
  assert.equal(line.clockOffset(offsets), 29_900);
  for (let look = 0; look < 100; look += 1) offsets = line.withClock(offsets, 0, 0);
  assert.ok(offsets.length <= 20 && line.clockOffset(offsets) === 0, 'what was set since is believed in the end');
});

test('pauses keep what the edge asks for, grow to a bound, and are spread', () => {
  assert.equal(line.pause(0, 3, () => 0), 3500);
  assert.equal(line.pause(0, 0, () => 1), 1500);
  assert.equal(line.pause(1000, 0, () => 0), 10_000);
  assert.equal(line.pause(1000, 0, () => 1), 30_000);
  assert.equal(line.pause(1000, 0, () => 1, 3000), 4500);
});

test('a ticket is read as the edge writes it', () => {
  // The text that protocol/src/queue/ticket.rs makes of slot 3, rank 0x169f1054 and the bit of its own.
  assert.deepEqual(line.placeOf('gAAAAxafEFTgRYkemKkYepJSqWTD8MhP'), { slot: 3, rank: 0x169f1054 });
  assert.deepEqual(line.placeOf('AAAAAP_____-__-_____________-___'), { slot: 0, rank: 2 ** 32 - 1 });
});

test('what is no ticket has no place', () => {
  for (const text of [null, undefined, '', 'x', 'A'.repeat(31), 'A'.repeat(33), `${'A'.repeat(31)}=`, `${'A'.repeat(31)}+`, 7]) {
    assert.equal(line.placeOf(text), null, String(text));
  }
});
