/** Things a person can do about an order, and the dialog that asks why. The tower decides nothing: each action is a call
 * to the API of the service that owns the decision. */

import { ApiProblem, call, onceKey } from "../lib/api.ts";
import type { Problem, Row } from "../lib/types.ts";
import { session } from "./session.svelte.ts";

export interface Action {
  order: string;
  title: string;
  label: string;
  /** What will happen, in a sentence. */
  text: string;
  service: string;
  method: string;
  path: string;
  body?: Record<string, unknown>;
  danger?: boolean;
  scope?: string;
  /** The owner takes no reason: the dialog asks none. */
  silent?: boolean;
}

const SCOPES: Record<string, string> = { raise: "priority:write", cancel: "orders:write", approve: "orders:review", reject: "orders:review", payment: "orders:review" };

const TEXTS: Record<string, string> = {
  raise: "The prioritizer moves the order to the urgent tier; it overtakes what is queued in every service.",
  approve: "Order intake ends the hold and the order goes on.",
  reject: "Order intake ends the hold and cancels the order.",
  payment: "Order intake notes the payment and the order goes on.",
  cancel: "Order intake asks whoever holds each piece. What is already with the carrier stays on its way.",
};

function verb(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

export function raise(row: Row): Action {
  return {
    order: row.order_id, title: "Raise this order", label: "Raise", text: TEXTS.raise ?? "", service: "prioritizer",
    method: "POST", path: `/orders/${encodeURIComponent(row.order_id)}/raise`, scope: "priority:write",
  };
}

export function cancelAll(row: Row): Action {
  return {
    order: row.order_id, title: "Cancel the whole order", label: "Cancel whole order", text: TEXTS.cancel ?? "",
    service: "order-intake", method: "POST", path: `/orders/${encodeURIComponent(row.order_id)}/cancel`, danger: true,
    scope: "orders:write",
  };
}

/** The actions of a problem, the suggested one first; none when looking is all that can be done. */
export function actionsOf(row: Row, problem: Problem): Action[] {
  if (!problem.service || !problem.path) return [];
  const kind = verb(problem.path);
  // Without named units the owner would cancel everything: say so, whatever the problem calls it.
  if (kind === "cancel" && !problem.body?.units && !problem.body?.lines) return [cancelAll(row)];
  const suggested: Action = {
    order: row.order_id, title: problem.action, label: problem.action, text: TEXTS[kind] ?? problem.text,
    service: problem.service, method: problem.method || "POST", path: problem.path, danger: kind === "cancel",
    ...(SCOPES[kind] ? { scope: SCOPES[kind] } : {}), ...(problem.body ? { body: problem.body } : {}),
    silent: problem.takes_reason === false,
  };
  if (kind !== "approve") return [suggested];
  const path = problem.path.replace(/approve$/, "reject");
  return [suggested, { ...suggested, title: "Reject", label: "Reject", text: TEXTS.reject ?? "", path, danger: true }];
}

class Desk {
  action = $state.raw<Action | null>(null);
  busy = $state(false);
  problem = $state.raw<ApiProblem | null>(null);
  result = $state.raw<Record<string, unknown> | null>(null);
  /** Orders with an action under way or done in this session: order → what and when (real time, ms). */
  done = $state.raw<ReadonlyMap<string, string>>(new Map());
  #key = "";

  open(action: Action): void {
    this.action = action;
    this.problem = null;
    this.result = null;
    this.#key = onceKey(); // one per dialog: trying again after a lost answer does nothing twice
  }

  close(): void {
    if (!this.busy) this.action = null;
  }

  async run(reason: string): Promise<void> {
    const action = this.action;
    if (!action || this.busy) return;
    const base = session.services[action.service];
    this.busy = true;
    this.problem = null;
    try {
      if (!base) throw new ApiProblem(0, { title: `${action.service} is not running`, detail: "The tower was not told its address." });
      const answer = await call<Record<string, unknown> | null>(base.replace(/\/$/, "") + action.path, {
        method: action.method, token: session.token, body: { ...action.body, ...(action.silent ? {} : { reason }) }, headers: { "idempotency-key": this.#key },
      });
      this.result = answer ?? {};
      this.done = new Map(this.done).set(action.order, action.label);
    } catch (error) {
      this.problem = error instanceof ApiProblem ? error : new ApiProblem(0, { title: String(error) });
      if (this.problem.status >= 400 && this.problem.status < 500) this.#key = onceKey();
    } finally {
      this.busy = false;
    }
  }
}

export const desk = new Desk();
