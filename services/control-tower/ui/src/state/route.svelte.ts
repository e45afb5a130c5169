/** The address: which list is shown, which order is open over it, and the filter in the query. */

import { readFilter, writeFilter, type Filter } from "../lib/rows.ts";

type List = "board" | "needs-action";

function listOf(path: string): List | null {
  return path === "/needs-action" ? "needs-action" : path.startsWith("/orders/") ? null : "board";
}

class Route {
  #path = $state(location.pathname);
  #query = $state(location.search);
  list = $state<List>(listOf(location.pathname) ?? "board");
  filter = $derived(readFilter(new URLSearchParams(this.#query)));

  constructor() {
    addEventListener("popstate", () => this.#read());
  }

  /** The order that is open, or null. */
  get order(): string | null {
    const found = /^\/orders\/([^/]+)$/.exec(this.#path);
    try {
      return found ? decodeURIComponent(found[1] ?? "") : null;
    } catch {
      return null;
    }
  }

  /** Orders keep the query, so that the list under them stays as it is. */
  orderPath(id: string): string {
    return `/orders/${encodeURIComponent(id)}${this.#query}`;
  }

  go(url: string, replace = false): void {
    if (url === location.pathname + location.search) return;
    if (replace) history.replaceState(history.state, "", url);
    else history.pushState({ inside: true }, "", url);
    this.#read();
  }

  open(id: string): void {
    this.go(this.orderPath(id), this.order !== null);
  }

  closeOrder(): void {
    if (this.order === null) return;
    if ((history.state as { inside?: boolean } | null)?.inside) history.back();
    else this.go((this.list === "board" ? "/" : "/needs-action") + this.#query, true);
  }

  narrow(change: Partial<Filter>): void {
    const query = writeFilter({ ...this.filter, ...change });
    this.go((this.list === "board" ? "/" : "/needs-action") + query, true);
  }

  /** For clicks on links of ours: stay on the page. */
  follow(event: MouseEvent): void {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest?.("a");
    if (!link || link.target || link.origin !== location.origin || link.hasAttribute("download")) return;
    event.preventDefault();
    this.go(link.pathname + link.search);
  }

  #read(): void {
    this.#path = location.pathname;
    this.#query = location.search;
    this.list = listOf(location.pathname) ?? this.list;
  }
}

export const route = new Route();
