/** What a viewer chose for this browser: theme and time zone. */

import type { Zone } from "../lib/format.ts";

export type Theme = "auto" | "light" | "dark";

function read<T extends string>(name: string, allowed: readonly T[], usual: T): T {
  try {
    const value = localStorage.getItem(`expedite.${name}`) as T;
    return allowed.includes(value) ? value : usual;
  } catch {
    return usual;
  }
}

function write(name: string, value: string): void {
  try {
    localStorage.setItem(`expedite.${name}`, value);
  } catch {
    // no storage: it holds until the page is left
  }
}

class Prefs {
  theme = $state<Theme>(read("theme", ["auto", "light", "dark"], "auto"));
  zone = $state<Zone>(read("zone", ["UTC", "local"], "local"));

  nextTheme(): void {
    this.theme = this.theme === "auto" ? "light" : this.theme === "light" ? "dark" : "auto";
    write("theme", this.theme);
    if (this.theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = this.theme;
  }

  nextZone(): void {
    this.zone = this.zone === "UTC" ? "local" : "UTC";
    write("zone", this.zone);
  }
}

export const prefs = new Prefs();
