"""prioritizer (urgency only, never custody) and notifier (who may choose what)."""

from __future__ import annotations

from custody.bus import NOTIFIER, PRIORITIZER, Data
from custody.service import Content, Service

REMEDIES = ("wait", "refund", "substitute", "split")


class Prioritizer(Service):
    name = PRIORITIZER
    state = ("rows", "revisions")

    def __init__(self, world: object) -> None:
        super().__init__(world)  # type: ignore[arg-type]
        self.revisions: dict[str, int] = {}

    def on_OrderReceived(self, o: str, d: Data) -> None:  # noqa: N802 - named as the topic
        if o not in self.revisions:
            self.revisions[o], self.rows[o] = 1, d["content"]
            self._assign(o, d["content"], 1, self.lane)

    def _assign(self, o: str, content: Content, revision: int, express: bool) -> None:
        self.say("PriorityAssigned", o, express=express, content=content, revision=revision, urgent=express)

    def raise_order(self, o: str) -> None:
        """By hand: known orders rise at once, others are asked of intake on the express lane."""
        if o not in self.revisions:
            self.say("RaiseRequested", o)
            return
        self.revisions[o] += 1
        self._assign(o, self.rows[o], self.revisions[o], True)


class Notifier(Service):
    name = NOTIFIER
    state = ("rows", "chosen")

    def __init__(self, world: object) -> None:
        super().__init__(world)  # type: ignore[arg-type]
        self.chosen: list[str] = []

    def on_StockShort(self, o: str, d: Data) -> None:  # noqa: N802
        """The customer is told and may choose."""
        self.rows.setdefault(d["occasion"], o)

    def on_RemedyApplied(self, o: str, d: Data) -> None:  # noqa: N802
        """The customer is told what the choice led to."""

    def choose(self, occasion: str, remedy: str) -> None:
        """The customer, or the clock when they are silent. Both may: the links stay valid."""
        self.chosen.append(choice := f"{occasion}-{len(self.chosen) + 1}")
        self.say("RemedyChosen", self.rows[occasion], occasion=occasion, choice=choice, remedy=remedy)
