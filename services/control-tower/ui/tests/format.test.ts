import assert from "node:assert/strict";
import { test } from "node:test";
import { clock, countdown, duration, lineText, splitId, unitCount, words } from "../src/lib/format.ts";

const NOW = Date.parse("2026-11-22T12:00:00Z");
const M = 60_000;

test("durations have two figures at most", () => {
  assert.deepEqual([20_000, 34 * M, 125 * M, (3 * 24 + 4) * 60 * M].map(duration), ["<1m", "34m", "2h 05m", "3d 4h"]);
});

test("a countdown says how much is left and how urgent that is", () => {
  assert.deepEqual(countdown(NOW - 60 * M, NOW + 60 * M, NOW), { text: "1h 00m left", level: "ok", gone: 0.5 });
  assert.equal(countdown(NOW - 90 * M, NOW + 10 * M, NOW).level, "soon");
  assert.deepEqual(countdown(null, NOW - 5 * M, NOW), { text: "late 5m", level: "late", gone: 1 });
  assert.equal(countdown(null, null, NOW).level, "none");
});

test("today's times need no date", () => {
  assert.equal(clock(Date.parse("2026-11-22T10:30:00Z"), NOW, "UTC"), "10:30");
  assert.equal(clock(Date.parse("2026-11-21T10:30:00Z"), NOW, "UTC"), "21 Nov 10:30");
});

test("the stage line names who and when", () => {
  const line = lineText(
    [
      { stage: "audit", state: "done", at: "2026-11-22T10:00:00Z", by: "lena" },
      { stage: "stock_lock", state: "problem", at: null, by: "wei" },
      { stage: "prepare", state: "todo", at: null, by: "" },
    ],
    NOW, "UTC",
  );
  assert.equal(line, "audit ✓ 10:00 lena → stock ! wei → pack");
});

test("small things", () => {
  assert.deepEqual(splitId("20261122-EC-000001"), ["20261122-EC-", "000001"]);
  assert.equal(unitCount([{ line: 1, first: 1, last: 4 }, { line: 2, first: 3, last: 3 }]), 5);
  assert.equal(words("StockReserved"), "stock reserved");
});
