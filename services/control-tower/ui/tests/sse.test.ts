import assert from "node:assert/strict";
import { test } from "node:test";
import { backoff, Parser } from "../src/lib/sse.ts";

const FRAME = ': still here\n\nevent: rows\nid: 2026-11-22T10:00:00+00:00\ndata: {"now":"x",\ndata:  "rows":[]}\n\n';
const SAID = [{ event: "rows", id: "2026-11-22T10:00:00+00:00", data: '{"now":"x",\n "rows":[]}' }];

test("a frame is one message, comments are none", () => {
  assert.deepEqual(new Parser().feed(FRAME), SAID);
});

test("chunks may end anywhere, with any line ending", () => {
  for (const ending of ["\n", "\r\n", "\r"]) {
    const text = FRAME.replaceAll("\n", ending) + ":" + ending;
    for (let size = 1; size < text.length; size += 1) {
      const parser = new Parser();
      const found = [];
      for (let at = 0; at < text.length; at += size) found.push(...parser.feed(text.slice(at, at + size)));
      assert.deepEqual(found, SAID, `${JSON.stringify(ending)} in chunks of ${size}`);
    }
  }
});

test("the id stays until the next one, an event without data is none", () => {
  const parser = new Parser();
  assert.deepEqual(parser.feed("id: 1\n\ndata: a\n\ndata\n\n"), [
    { event: "message", id: "1", data: "a" },
    { event: "message", id: "1", data: "" },
  ]);
});

test("waiting grows to 20 seconds and no further", () => {
  assert.deepEqual([0, 1, 2, 9].map((n) => backoff(n, 0.5)), [1, 2, 4, 20]);
});
