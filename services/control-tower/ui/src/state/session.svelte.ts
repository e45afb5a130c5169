/** Who is logged in: a short-lived token in this tab, renewed while the page is open. */

import { ApiProblem, call } from "../lib/api.ts";
import type { Config, Token } from "../lib/types.ts";

interface Held extends Token {
  /** Real time, ms: when the token was given. */
  at: number;
}

const SLOT = "expedite.session";
const LOOK_MS = 20_000;

function load(): Held | null {
  try {
    const held = JSON.parse(sessionStorage.getItem(SLOT) ?? "null") as Held | null;
    return held && Date.now() < held.at + held.expires_in_s * 1000 ? held : null;
  } catch {
    return null;
  }
}

class Session {
  #held = $state.raw<Held | null>(load());
  /** Where the owners' APIs are. */
  services = $state.raw<Record<string, string>>({});
  /** Said on the login page. */
  notice = $state("");
  #renewing: Promise<void> | null = null;

  constructor() {
    setInterval(() => void this.#look(), LOOK_MS);
    document.addEventListener("visibilitychange", () => void this.#look());
  }

  get token(): string | undefined {
    return this.#held?.token;
  }

  get who(): Token | null {
    return this.#held;
  }

  may(scope: string): boolean {
    const scopes = this.#held?.scopes ?? [];
    return scopes.includes(scope) || scopes.includes("*");
  }

  async login(person_id: string, password: string): Promise<void> {
    this.#keep(await call<Token>("/api/login", { method: "POST", body: { person_id, password } }));
    this.notice = "";
  }

  logout(notice = ""): void {
    this.#held = null;
    this.services = {};
    this.notice = notice;
    sessionStorage.removeItem(SLOT);
  }

  /** A call to the tower's own API; a 401 leads to the login page. */
  async ask<T>(path: string, signal?: AbortSignal): Promise<T> {
    const token = this.token;
    try {
      return await call<T>(path, { token, ...(signal ? { signal } : {}) });
    } catch (error) {
      if (error instanceof ApiProblem && error.status === 401) this.expired(token);
      throw error;
    }
  }

  /** The server does not know this token any more. */
  expired(token: string | undefined): void {
    if (token && token === this.token) this.logout("Your login has expired. Please log in again.");
  }

  async learnServices(): Promise<void> {
    this.services = (await this.ask<Config>("/api/config")).services;
  }

  #keep(token: Token): void {
    this.#held = { ...token, at: Date.now() };
    sessionStorage.setItem(SLOT, JSON.stringify(this.#held));
  }

  /** Renew when two thirds of the token's life are over. */
  async #look(): Promise<void> {
    const held = this.#held;
    if (!held || Date.now() < held.at + (held.expires_in_s * 2000) / 3) return;
    this.#renewing ??= this.#renew(held).finally(() => (this.#renewing = null));
    await this.#renewing;
  }

  async #renew(held: Held): Promise<void> {
    try {
      const fresh = await call<Token>("/api/token", { method: "POST", token: held.token });
      if (this.token === held.token) this.#keep(fresh);
    } catch (error) {
      if (error instanceof ApiProblem && error.status === 401) this.expired(held.token);
    }
  }
}

export const session = new Session();
