import assert from "node:assert/strict";
import { test } from "node:test";
import { bySlack, byUrgency, merge, NO_FILTER, passes, prune, readFilter, viewOf, writeFilter } from "../src/lib/rows.ts";
import type { Row } from "../src/lib/types.ts";

function row(order_id: string, change: Partial<Row> = {}): Row {
  return {
    order_id, revision: 1, channel: "web", customer: "Ada", country: "GB", tags: [], tier: "regular", score: 0, stage: "ship",
    light: "yellow", deadline: null, promise_by: null, received_at: null, units: 1, delivered: 0, cancelled: 0, owner: "",
    is_open: true, marks: [], problem: null, ...change,
  };
}
const mapOf = (...rows: Row[]) => new Map(rows.map((r) => [r.order_id, r]));

test("rows only move forward, in whatever order they come", () => {
  const known = mapOf(row("a", { revision: 5 }));
  assert.equal(merge(known, [row("a", { revision: 4 }), row("a", { revision: 5 })]), known);
  const merged = merge(known, [row("a", { revision: 7, stage: "track" }), row("a", { revision: 6 }), row("b")]);
  assert.equal(merged.get("a")?.stage, "track");
  assert.equal(merged.size, 2);
});

test("urgency is tier, then deadline, then number; slack is the deadline first", () => {
  const rows = [
    row("d"), row("c", { deadline: "2026-11-22T09:00:00Z" }), row("b", { deadline: "2026-11-22T11:00:00+02:00" }),
    row("a", { tier: "urgent", deadline: "2026-11-22T12:00:00Z" }),
  ];
  assert.deepEqual(rows.toSorted(byUrgency).map((r) => r.order_id), ["a", "b", "c", "d"]);
  assert.deepEqual(rows.toSorted(bySlack).map((r) => r.order_id), ["b", "c", "a", "d"]);
});

test("pruning keeps open and urgent orders", () => {
  const rows = mapOf(row("low", { tier: "low" }), row("gone", { is_open: false, stage: "closed", tier: "urgent" }), ...["1", "2", "3"].map((n) => row(n)));
  assert.equal(prune(rows, 5), rows);
  assert.deepEqual([...prune(rows, 4).keys()], ["1", "2", "3"]);
});

test("a filter survives the address", () => {
  const filter = { ...NO_FILTER, tier: "urgent" as const, q: "a&b", show: "closed" as const };
  assert.deepEqual(readFilter(new URLSearchParams(writeFilter(filter))), filter);
  assert.equal(writeFilter(NO_FILTER), "");
  assert.deepEqual(readFilter(new URLSearchParams("tier=nonsense&light=blue&show=x")), NO_FILTER);
});

test("words match what is seen, and what only the server knows", () => {
  const filter = { ...NO_FILTER, q: " ADA " };
  assert.ok(passes(row("x"), filter, new Set()));
  assert.ok(!passes(row("x", { customer: "Bo" }), filter, new Set()));
  assert.ok(passes(row("x", { customer: "Bo" }), filter, new Set(["x"])));
});

test("ended orders leave the columns and are found by a search", () => {
  const rows = [row("a"), row("b", { is_open: false, stage: "closed", light: "green" })];
  assert.deepEqual(viewOf(rows, NO_FILTER, new Set()).ended, []);
  assert.deepEqual(viewOf(rows, NO_FILTER, new Set()).columns.ship.map((r) => r.order_id), ["a"]);
  assert.equal(viewOf(rows, { ...NO_FILTER, q: "ada" }, new Set()).ended.length, 1);
  assert.equal(viewOf(rows, { ...NO_FILTER, show: "closed" }, new Set()).columns.ship.length, 0);
});
