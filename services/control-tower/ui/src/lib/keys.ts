/** Moving among the orders on the page with the keyboard. Every order in a list is a link with `data-order`. */

function shown(): HTMLElement[] {
  return [...document.querySelectorAll<HTMLElement>("main a[data-order]")].filter((link) => link.offsetParent !== null);
}

function focus(link: HTMLElement | undefined): void {
  link?.focus();
  link?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** The order that has the focus, or the one that had it last: live news move cards about. */
let last: string | null = null;

export function current(links = shown()): HTMLElement | undefined {
  const active = document.activeElement;
  const here = links.find((link) => link === active) ?? links.find((link) => link.dataset.order === last);
  last = here?.dataset.order ?? last;
  return here;
}

export function step(by: 1 | -1): void {
  const links = shown();
  const here = current(links);
  const to = here ? links[links.indexOf(here) + by] : links[by > 0 ? 0 : links.length - 1];
  focus(to);
  last = to?.dataset.order ?? last;
}

/** The same height in the next column that has orders. */
export function sideways(by: 1 | -1): void {
  const links = shown();
  const here = current(links);
  const columns = [...document.querySelectorAll<HTMLElement>("main [data-stage]")].filter((c) => links.some((link) => c.contains(link)));
  const at = columns.findIndex((column) => here && column.contains(here));
  const column = columns[Math.min(columns.length - 1, Math.max(0, at + by))];
  if (!column || columns.indexOf(column) === at) return;
  const inside = links.filter((link) => column.contains(link));
  const top = here?.getBoundingClientRect().top ?? 0;
  const near = inside.reduce((a, b) => (Math.abs(b.getBoundingClientRect().top - top) < Math.abs(a.getBoundingClientRect().top - top) ? b : a));
  focus(near);
  last = near.dataset.order ?? last;
}

/** The order before or after one in the list, for stepping through with an order open. */
export function beside(order: string, by: 1 | -1): string | undefined {
  const links = shown();
  const at = links.findIndex((link) => link.dataset.order === order);
  return links[at < 0 ? 0 : at + by]?.dataset.order;
}

export function isTyping(event: KeyboardEvent): boolean {
  const target = event.target as HTMLElement | null;
  return Boolean(target?.closest?.("input, textarea, select, [contenteditable]"));
}
