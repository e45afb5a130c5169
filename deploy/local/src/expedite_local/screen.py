"""What the person who types `expedite up` sees: progress, then URLs and the login."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TextIO

from expedite_local.logs import wants_colour
from expedite_local.state import State
from expedite_local.substrate import Step


class Screen:
    """Progress lines: finished steps stay, the one at work is rewritten in place on a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """`stream`: standard output by default."""
        self.stream = stream or sys.stdout
        self.colour = wants_colour(self.stream)
        self.in_place = self.stream.isatty()
        self._open: dict[str, str] = {}
        self._shown = ""

    def step(self, step: Step) -> None:
        """Show progress of one step."""
        if step.done:
            self._open.pop(step.name, None)
            self.done(step.name, step.detail, step.seconds)
        else:
            self._open[step.name] = step.detail
        self._pending()

    def done(self, name: str, detail: str, seconds: float) -> None:
        """A finished step."""
        self._clear()
        mark = "\x1b[32m✔\x1b[0m" if self.colour else "✔"
        self.stream.write(f" {mark} {name:<13} {detail:<42} {seconds:5.1f} s\n")
        self.stream.flush()

    def busy(self, name: str, detail: str) -> None:
        """Something at work, until `done` or `idle` of the same name."""
        self._open[name] = detail
        self._pending()

    def idle(self, name: str) -> None:
        """No longer at work."""
        self._open.pop(name, None)
        self._pending()

    def _clear(self) -> None:
        if self._shown:
            self.stream.write("\r\x1b[K")
            self._shown = ""

    def _pending(self) -> None:
        if not self.in_place:
            return
        self._clear()
        self._shown = " … " + "   ".join(f"{name} {detail.split('   ')[0]}" for name, detail in self._open.items())
        if self._open:
            self.stream.write(self._shown[:100])
        else:
            self._shown = ""
        self.stream.flush()


def summary(state: State, *, password: bool = True) -> str:
    """URLs, login and next steps of a running system."""
    urls = state.urls
    rows: list[tuple[str, str]] = []
    if "control-tower" in urls:
        rows.append(("Control tower", urls["control-tower"]))
        shown = state.login["password"] if password else "see `expedite status`"
        rows.append(("Login", f"{state.login['user']} / {shown}"))
    rows += [(f"{name} API", f"{url}/openapi.json") for name, url in urls.items() if name != "control-tower"]
    rows.append(("Kafka", state.kafka_bootstrap))
    rows.append(("Logs", "expedite logs [SERVICE] -f"))
    rows.append(("Stop", "Ctrl-C, or expedite down"))
    width = max(len(name) for name, _ in rows)
    return "\n" + "\n".join(f"   {name:<{width}}   {value}" for name, value in rows) + "\n"


def table(state: State) -> str:
    """The processes of a running system as a table."""
    rows = [("PROCESS", "STATE", "PID", "PORT", "RESTARTS")]
    rows += [(p.name, p.state, str(p.pid or "-"), str(p.port or "-"), str(p.restarts)) for p in state.processes]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def ports_in_use(taken: Mapping[str, int]) -> str:
    """The error text for fixed ports that somebody else uses."""
    listed = ", ".join(f"{port} ({name})" for name, port in taken.items())
    return f"these ports are in use: {listed}. Choose others with --port-base N, or --port-base 0 for free ones"
