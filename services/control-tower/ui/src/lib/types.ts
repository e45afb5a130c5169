/** What the control tower's API answers (views.py, api.py); hand-kept beside it. */

export const STAGES = ["audit", "stock_lock", "prepare", "ship", "track", "confirm"] as const;
export type Stage = (typeof STAGES)[number];
export type Ended = "closed" | "cancelled";
export type Light = "green" | "yellow" | "red";
export type Tier = "urgent" | "high" | "regular" | "low";
export const TIERS: readonly Tier[] = ["urgent", "high", "regular", "low"];
export const LIGHTS: readonly Light[] = ["red", "yellow", "green"];

export interface Mark {
  stage: Stage;
  state: "done" | "now" | "problem" | "todo";
  at: string | null;
  by: string;
}

/** Something a person should look at; `service` and `path` name the owner's API, empty when looking is all there is. */
export interface Problem {
  kind: string;
  text: string;
  since: string | null;
  due_at: string | null;
  owner: string;
  action: string;
  service: string;
  method: string;
  path: string;
  /** More members of the request's body, besides `reason`. */
  body?: Record<string, unknown>;
  /** Whether the owner's API takes a `reason`. */
  takes_reason?: boolean;
}

export interface Row {
  order_id: string;
  revision: number;
  channel: string;
  customer: string;
  country: string;
  tags: string[];
  tier: Tier | null;
  score: number;
  stage: Stage | Ended;
  light: Light;
  deadline: string | null;
  promise_by: string | null;
  received_at: string | null;
  units: number;
  delivered: number;
  cancelled: number;
  owner: string;
  is_open: boolean;
  marks: Mark[];
  problem: Problem | null;
}

export interface RowList {
  now: string;
  items: Row[];
  next: number | null;
}

export interface Kpi {
  open: number;
  red: number;
  late: number;
  at_risk: number;
  closed: number;
  cancelled: number;
}

export type Counts = Record<Light, number>;

export interface Summary {
  now: string;
  kpi: Kpi;
  stages: ({ stage: Stage } & Counts)[];
}

export interface UnitRange {
  line: number;
  first: number;
  last: number;
}

export interface Parcel {
  parcel_id: string;
  warehouse_id: string;
  units: UnitRange[];
  packed_at: string | null;
  packed_by: string;
  shipped_at: string | null;
  carrier: string;
  service: string;
  tracking_number: string;
  expected_at: string | null;
  status: string;
  status_at: string | null;
  delayed: string;
  delivered_at: string | null;
  signed_by: string;
  gone: string;
  gone_at: string | null;
}

export interface Transfer {
  transfer_id: string;
  from_warehouse: string;
  to_warehouse: string;
  units: UnitRange[];
  requested_at: string | null;
  dispatched_at: string | null;
  received_at: string | null;
}

export interface Entry {
  event_id: string;
  topic: string;
  service: string;
  lane: string;
  at: string;
  sequence: number;
  causation_id: string;
  correlation_id: string;
  trace: string | null;
  said: string;
  data: Record<string, unknown>;
}

export interface OrderPage {
  row: Row;
  reasons: string[];
  problems: Problem[];
  parcels: Parcel[];
  transfers: Transfer[];
  total: string;
  currency: string;
  timeline: Entry[];
}

export interface Token {
  token: string;
  expires_in_s: number;
  person_id: string;
  name: string;
  scopes: string[];
}

export interface Config {
  services: Record<string, string>;
  stages: string[];
  you: { name: string; scopes: string[] };
}
