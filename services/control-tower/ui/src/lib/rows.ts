/** The board's rows: merging news, order and filters. Pure, so that they are tested without a page. */

import { LIGHTS, STAGES, TIERS, type Counts, type Light, type Row, type Stage, type Tier } from "./types.ts";

export interface Filter {
  show: "open" | "closed" | "cancelled";
  tier: Tier | "";
  light: Light | "";
  channel: string;
  q: string;
}

export const NO_FILTER: Filter = { show: "open", tier: "", light: "", channel: "", q: "" };

function oneOf<T extends string>(value: string | null, allowed: readonly T[]): T | "" {
  return allowed.includes(value as T) ? (value as T) : "";
}

export function readFilter(query: URLSearchParams): Filter {
  return {
    show: oneOf(query.get("show"), ["closed", "cancelled"] as const) || "open",
    tier: oneOf(query.get("tier"), TIERS),
    light: oneOf(query.get("light"), LIGHTS),
    channel: query.get("channel") ?? "",
    q: (query.get("q") ?? "").slice(0, 80),
  };
}

/** The query of a filter, without what is as usual. */
export function writeFilter(filter: Filter): string {
  const query = new URLSearchParams();
  if (filter.show !== "open") query.set("show", filter.show);
  for (const name of ["tier", "light", "channel", "q"] as const) if (filter[name]) query.set(name, filter[name]);
  const text = query.toString();
  return text ? `?${text}` : "";
}

export function isNarrow(filter: Filter): boolean {
  return Boolean(filter.tier || filter.light || filter.channel || filter.q.trim());
}

/** Rows with the newer ones put in; the very same map when nothing is news. */
export function merge(known: ReadonlyMap<string, Row>, news: readonly Row[]): ReadonlyMap<string, Row> {
  const fresh = news.filter((row) => (known.get(row.order_id)?.revision ?? -1) < row.revision);
  if (!fresh.length) return known;
  const merged = new Map(known);
  for (const row of fresh) if ((merged.get(row.order_id)?.revision ?? -1) < row.revision) merged.set(row.order_id, row);
  return merged;
}

/** Keep at most `most` rows: ended ones go first, then the least urgent. */
export function prune(rows: ReadonlyMap<string, Row>, most: number): ReadonlyMap<string, Row> {
  if (rows.size <= most) return rows;
  const keep = [...rows.values()].sort((a, b) => Number(b.is_open) - Number(a.is_open) || byUrgency(a, b));
  return new Map(keep.slice(0, Math.floor(most * 0.8)).map((row) => [row.order_id, row]));
}

function rank(row: Row): number {
  return row.tier ? TIERS.indexOf(row.tier) : 2;
}

const times = new WeakMap<Row, number>();

/** Deadline in ms; rows without one come last. */
export function due(row: Row): number {
  let at = times.get(row);
  if (at === undefined) {
    at = row.deadline ? Date.parse(row.deadline) : Number.POSITIVE_INFINITY;
    times.set(row, at);
  }
  return at;
}

function compare<T>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function byUrgency(a: Row, b: Row): number {
  return rank(a) - rank(b) || compare(due(a), due(b)) || compare(a.order_id, b.order_id);
}

export function bySlack(a: Row, b: Row): number {
  return compare(due(a), due(b)) || rank(a) - rank(b) || compare(a.order_id, b.order_id);
}

export function byNewest(a: Row, b: Row): number {
  return compare(b.order_id, a.order_id);
}

/** Whether a row passes the chips; `hits` are orders the server found for the words (it also knows tracking numbers). */
export function passes(row: Row, filter: Filter, hits: ReadonlySet<string>): boolean {
  if (filter.tier && row.tier !== filter.tier) return false;
  if (filter.light && row.light !== filter.light) return false;
  if (filter.channel && row.channel !== filter.channel) return false;
  const words = filter.q.trim().toLowerCase();
  if (!words || hits.has(row.order_id)) return true;
  return `${row.order_id} ${row.customer} ${row.channel} ${row.country} ${row.tags.join(" ")}`.toLowerCase().includes(words);
}

export interface View {
  columns: Record<Stage, Row[]>;
  /** Closed and cancelled orders: what `show` asks for, or what a search also found. */
  ended: Row[];
}

export function viewOf(rows: Iterable<Row>, filter: Filter, hits: ReadonlySet<string>): View {
  const columns = Object.fromEntries(STAGES.map((stage) => [stage, [] as Row[]])) as Record<Stage, Row[]>;
  const ended: Row[] = [];
  for (const row of rows) {
    if (!passes(row, filter, hits)) continue;
    if (!row.is_open) {
      if (filter.show === "open" ? filter.q.trim() : row.stage === filter.show) ended.push(row);
    } else if (filter.show === "open") columns[row.stage as Stage]?.push(row);
  }
  for (const stage of STAGES) columns[stage].sort(byUrgency);
  return { columns, ended: ended.sort(byNewest) };
}

export function countLights(rows: readonly Row[]): Counts {
  const counts: Counts = { green: 0, yellow: 0, red: 0 };
  for (const row of rows) counts[row.light] += 1;
  return counts;
}
