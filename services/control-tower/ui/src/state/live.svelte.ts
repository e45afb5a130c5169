/** The board's data: one snapshot, then changed rows over the stream; polling while the stream is away.
 *
 * Rows only ever move forward (by revision), so it does not matter in which order snapshot, stream and polls arrive. */

import { ApiProblem } from "../lib/api.ts";
import { bySlack, isNarrow, merge, NO_FILTER, prune, type Filter } from "../lib/rows.ts";
import { backoff, listen, Refused, type Message } from "../lib/sse.ts";
import { STAGES, type Row, type RowList, type Stage, type Summary } from "../lib/types.ts";
import { route } from "./route.svelte.ts";
import { session } from "./session.svelte.ts";

const PAGE = 200;
const MOST_ROWS = 8000;
const SUMMARY_MS = 2500;
const POLL_MS = 5000;
const RELOAD_GAP_MS = 4000;
const SILENCE_MS = 25_000; // the server says something every 15 s
const STALE_MS = 20_000;
const HIDDEN_MS = 60_000; // a page nobody looks at gives its connection back: browsers allow six to a host

type Mode = "connecting" | "live" | "polling";

class Live {
  rows = $state.raw<ReadonlyMap<string, Row>>(new Map());
  summary = $state.raw<Summary | null>(null);
  /** Business time, ms: the newest the server told. */
  now = $state(0);
  mode = $state<Mode>("connecting");
  /** Whole seconds since the server last said anything. */
  age = $state(0);
  loaded = $state(false);
  loading = $state(false);
  problem = $state("");
  stale = $derived(this.mode === "connecting" ? this.age * 1000 > STALE_MS / 4 : this.age * 1000 > STALE_MS);

  #heard = Date.now();
  #cursor: string | null = null;
  #stop: AbortController | null = null;
  #reloadedAt = 0;
  #reloadSoon: ReturnType<typeof setTimeout> | undefined;
  #loads = 0;

  start(): void {
    if (this.#stop) return;
    const stop = (this.#stop = new AbortController());
    this.#heard = Date.now();
    void this.#stream(stop.signal);
    void this.#summaries(stop.signal);
    const ticks = setInterval(() => (this.age = Math.floor((Date.now() - this.#heard) / 1000)), 500);
    stop.signal.addEventListener("abort", () => clearInterval(ticks));
  }

  end(): void {
    this.#stop?.abort();
    this.#stop = null;
    clearTimeout(this.#reloadSoon);
    this.#loads += 1; // what is under way is not wanted any more
    this.#cursor = null;
    this.problem = "";
    this.rows = new Map();
    this.summary = null;
    this.loaded = false;
    this.mode = "connecting";
  }

  /** The first page of every list a filter asks for. */
  async load(filter: Filter): Promise<string[]> {
    const query = new URLSearchParams({ limit: String(PAGE) });
    for (const name of ["tier", "light", "channel"] as const) if (filter[name]) query.set(name, filter[name]);
    if (filter.q.trim()) query.set("q", filter.q.trim());
    if (filter.show !== "open") return this.#page(query, { stage: filter.show, sort: "newest" });
    if (filter.q.trim()) return this.#page(query, {});
    return (await Promise.all(STAGES.map((stage) => this.#page(query, { stage })))).flat();
  }

  async more(stage: Stage, after: number): Promise<void> {
    await this.#page(new URLSearchParams({ limit: String(PAGE), after: String(after) }), { stage });
  }

  async needsAction(): Promise<void> {
    this.#take(await session.ask<RowList>("/api/needs-action?limit=500"));
  }

  /** One call's rows into the board; their ids come back. */
  async #page(base: URLSearchParams, more: Record<string, string>): Promise<string[]> {
    const query = new URLSearchParams(base);
    for (const [name, value] of Object.entries(more)) query.set(name, value);
    const page = await session.ask<RowList>(`/api/board?${query}`);
    this.#take(page);
    return page.items.map((row) => row.order_id);
  }

  /** Load everything again. What is known and not told again has left the open orders, or lies beyond the first page. */
  async reload(): Promise<void> {
    const load = ++this.#loads;
    this.#reloadedAt = Date.now();
    this.loading = true;
    const before = this.rows;
    try {
      const told = new Set(await this.load(NO_FILTER));
      const { filter } = route;
      if (filter.show !== "open" || isNarrow(filter)) for (const id of await this.load(filter)) told.add(id);
      if (load !== this.#loads) return;
      this.rows = new Map([...this.rows].filter(([id, row]) => told.has(id) || before.get(id) !== row));
      await this.needsAction();
      this.loaded = true;
      this.problem = "";
    } catch (error) {
      if (load !== this.#loads) return;
      this.problem = error instanceof ApiProblem ? error.title : "The board could not be loaded";
      this.#reloadUnlessJustDone();
    } finally {
      if (load === this.#loads) this.loading = false;
    }
  }

  #reloadUnlessJustDone(): void {
    clearTimeout(this.#reloadSoon);
    const wait = Math.max(0, this.#reloadedAt + RELOAD_GAP_MS - Date.now());
    this.#reloadSoon = setTimeout(() => void this.reload(), wait);
  }

  #take(list: RowList): void {
    if (!this.#stop) return;
    this.#clock(list.now);
    this.rows = prune(merge(this.rows, list.items), MOST_ROWS);
  }

  #clock(now: string): void {
    const at = Date.parse(now);
    if (!Number.isNaN(at)) this.now = at;
  }

  #beat(): void {
    this.#heard = Date.now();
    this.age = 0;
  }

  async #summaries(signal: AbortSignal): Promise<void> {
    let polledAt = Date.now();
    while (!signal.aborted) {
      try {
        const summary = await session.ask<Summary>("/api/summary", signal);
        if (signal.aborted) return;
        this.summary = summary;
        this.#clock(summary.now);
        if (this.mode !== "live") this.#beat();
        if (this.mode === "polling" && Date.now() - polledAt > POLL_MS) {
          polledAt = Date.now();
          await this.reload();
        }
      } catch {
        // The age grows and the pill says so.
      }
      await pause(document.hidden ? 4 * SUMMARY_MS : SUMMARY_MS, signal);
    }
  }

  async #stream(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; ) {
      await seen(signal);
      if (signal.aborted) return;
      const attempt = new AbortController();
      const give = () => attempt.abort();
      signal.addEventListener("abort", give);
      let hidden: ReturnType<typeof setTimeout> | undefined;
      const looked = () => {
        clearTimeout(hidden);
        if (document.hidden) hidden = setTimeout(give, HIDDEN_MS);
      };
      document.addEventListener("visibilitychange", looked);
      let silence = setTimeout(give, SILENCE_MS);
      const token = session.token;
      const resumed = this.#cursor;
      try {
        const headers = { authorization: `Bearer ${token}`, ...(resumed ? { "last-event-id": resumed } : {}) };
        await listen("/api/stream", headers, attempt.signal, {
          open: () => {
            this.mode = "live";
            this.#beat();
            if (!resumed || !this.loaded) void this.reload(); // after opening, so that nothing falls between
          },
          beat: () => {
            failures = 0;
            this.#beat();
            clearTimeout(silence);
            silence = setTimeout(give, SILENCE_MS);
          },
          message: (message) => this.#message(message),
        });
        failures += 1; // it ended: a replica went away
      } catch (error) {
        failures += 1;
        if (error instanceof Refused && error.status === 401) return session.expired(token);
      } finally {
        clearTimeout(silence);
        clearTimeout(hidden);
        document.removeEventListener("visibilitychange", looked);
        signal.removeEventListener("abort", give);
      }
      if (signal.aborted) return;
      this.mode = failures > 1 ? "polling" : "connecting";
      if (!this.loaded) this.#reloadUnlessJustDone();
      await pause(1000 * backoff(failures - 1, Math.random()), signal);
    }
  }

  #message({ event, data, id }: Message): void {
    let frame: { now: string; rows: Row[] };
    try {
      frame = JSON.parse(data) as { now: string; rows: Row[] };
    } catch {
      return;
    }
    if (id) this.#cursor = id;
    if (event === "reset") {
      this.#clock(frame.now);
      this.#reloadUnlessJustDone();
    } else if (event === "rows") this.#take({ now: frame.now, items: frame.rows, next: null });
  }

  /** Channels seen, for the filter. */
  channels = $derived([...new Set([...this.rows.values()].map((row) => row.channel).filter(Boolean))].sort());

  /** Orders somebody must act on. */
  red = $derived([...this.rows.values()].filter((row) => row.is_open && row.light === "red").sort(bySlack));
}

/** When the page is looked at (now, mostly). */
function seen(signal: AbortSignal): Promise<void> {
  if (!document.hidden || signal.aborted) return Promise.resolve();
  return new Promise((done) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      done();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look, { once: true });
  });
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      done();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
  });
}

export const live = new Live();
