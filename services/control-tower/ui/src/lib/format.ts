/** Times, durations and names as the board writes them. */

import type { Ended, Mark, Row, Stage, UnitRange } from "./types.ts";

export type Zone = "UTC" | "local";
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export const STAGE_NAMES: Record<Stage | Ended, string> = {
  audit: "Audit", stock_lock: "Stock lock", prepare: "Prepare", ship: "Ship", track: "Track", confirm: "Confirm",
  closed: "Closed", cancelled: "Cancelled",
};
const SHORT: Record<Stage, string> = {
  audit: "audit", stock_lock: "stock", prepare: "pack", ship: "ship", track: "track", confirm: "confirm",
};

/** Milliseconds of an ISO moment; null when there is none. */
export function moment(iso: string | null | undefined): number | null {
  if (!iso) return null;
  const at = Date.parse(iso);
  return Number.isNaN(at) ? null : at;
}

/** "45 s", "34m", "2h 05m", "3d 4h": two figures at most. */
export function duration(ms: number): string {
  const span = Math.abs(ms);
  if (span < MINUTE) return "<1m";
  if (span < HOUR) return `${Math.floor(span / MINUTE)}m`;
  if (span < DAY) return `${Math.floor(span / HOUR)}h ${String(Math.floor((span % HOUR) / MINUTE)).padStart(2, "0")}m`;
  return `${Math.floor(span / DAY)}d ${Math.floor((span % DAY) / HOUR)}h`;
}

export interface Countdown {
  text: string;
  level: "ok" | "soon" | "late" | "none";
  /** Share of the time that is gone, 0 to 1. */
  gone: number;
}

/** How much of the time to a deadline is left. "Soon" is the last quarter, or the last quarter of an hour. */
export function countdown(start: number | null, deadline: number | null, now: number): Countdown {
  if (deadline === null || !now) return { text: "no deadline", level: "none", gone: 0 };
  const left = deadline - now;
  if (left < 0) return { text: `late ${duration(left)}`, level: "late", gone: 1 };
  const whole = start !== null && deadline > start ? deadline - start : DAY;
  const gone = Math.min(1, Math.max(0, 1 - left / whole));
  return { text: `${duration(left)} left`, level: left < 15 * MINUTE || gone > 0.75 ? "soon" : "ok", gone };
}

/** When the present stage began: the newest mark that is done, else when the order came. */
export function stageStart(row: Row): number | null {
  const done = row.marks.filter((m) => m.state === "done").map((m) => moment(m.at) ?? 0);
  return Math.max(0, ...done) || moment(row.received_at);
}

const formats = new Map<string, Intl.DateTimeFormat>();

function format(zone: Zone, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const name = zone + JSON.stringify(options);
  let found = formats.get(name);
  if (!found) {
    const where = zone === "UTC" ? { timeZone: "UTC" } : {};
    found = new Intl.DateTimeFormat("en-GB", { hourCycle: "h23", ...where, ...options });
    formats.set(name, found);
  }
  return found;
}

const DAY_PARTS = { day: "numeric", month: "short" } as const;
const CLOCK_PARTS = { hour: "2-digit", minute: "2-digit" } as const;

/** "10:30" today, "22 Nov 10:30" on another day. */
export function clock(at: number | null, now: number, zone: Zone): string {
  if (at === null) return "";
  const day = format(zone, DAY_PARTS).format(at);
  const time = format(zone, CLOCK_PARTS).format(at);
  return now && day === format(zone, DAY_PARTS).format(now) ? time : `${day} ${time}`;
}

/** "Sun 22 Nov 14:32:05": the header's clock and the full form of any time. */
export function fullTime(at: number | null, zone: Zone): string {
  if (at === null) return "";
  const parts = format(zone, { weekday: "short", ...DAY_PARTS, ...CLOCK_PARTS, second: "2-digit" }).format(at);
  return parts.replace(",", "");
}

/** One stage of the line: "stock ✓ 10:30 LON". */
export function markText(mark: Mark, now: number, zone: Zone): string {
  const name = SHORT[mark.stage] ?? mark.stage;
  if (mark.state === "todo") return name;
  const sign = mark.state === "done" ? "✓" : mark.state === "problem" ? "!" : "now";
  return [name, sign, clock(moment(mark.at), now, zone), mark.by].filter(Boolean).join(" ");
}

/** The whole line in words: "audit ✓ 10:00 lena → stock ✓ 10:30 LON → pack now Tom → ship → track → confirm". */
export function lineText(marks: readonly Mark[], now: number, zone: Zone): string {
  return marks.map((mark) => markText(mark, now, zone)).join(" → ");
}

/** How many units some ranges name. */
export function unitCount(units: readonly UnitRange[]): number {
  return units.reduce((sum, range) => sum + range.last - range.first + 1, 0);
}

/** "20261122-EC-" and "000001": the part that tells orders apart stands out. */
export function splitId(id: string): [string, string] {
  const cut = id.lastIndexOf("-") + 1;
  return [id.slice(0, cut), id.slice(cut)];
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString("en-GB")} ${count === 1 ? one : many}`;
}

/** "stock_lock" or "StockReserved" in plain words. */
export function words(name: string): string {
  return name.replace(/_/g, " ").replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
}
