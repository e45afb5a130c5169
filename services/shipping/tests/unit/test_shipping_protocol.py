"""Random histories of one order keep the custody protocol (design section 2): the shipping part of the executable model."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from expedite_events import (
    CancelRefused,
    Delivered,
    Event,
    ParcelReturned,
    ShipmentLost,
    Units,
    UnitsCancelled,
)
from shipping.domain import custody
from shipping.domain.custody import Refused
from shipping.domain.state import Label, LabelState, OrderLeg, Station

STEPS = ("pack", "cancel", "label", "hand", "put_back", "scan", "deliver", "lose", "return")
moves = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5), st.booleans()), max_size=40)


class Play:
    """One order, played step by step. Units are packed again only after they came back, as inventory would."""

    def __init__(self, given: Any) -> None:
        self.given, self.leg = given, OrderLeg(order_id=given.order_id)
        self.free = Units.of(1, 1, 6)
        self.requests: dict[str, tuple[Units, bool]] = {}
        self.events: list[Event] = []

    def did(self, decision: Any) -> None:
        self.leg = decision.state
        self.events += decision.events
        for event in decision.events:
            if isinstance(event, ShipmentLost | ParcelReturned):
                standing = Units.union(u for u, s in self.requests.values() if s)
                self.free = self.free | (event.units - standing)  # inventory cancels what a standing request holds

    def step(self, name: str, pick: int, flag: bool) -> None:
        g, now, parcels = self.given, self.given.now, self.leg.parcels
        if name == "pack" and self.free:
            some = self.free.first_n(1 + pick % 3)
            self.free = self.free - some
            number = len(parcels) + 1
            event = g.packed(parcel=number, units=some)
            self.did(custody.receive(self.leg, event, g.desk(), now))
            self.did(custody.receive(self.leg, event, g.desk(), now))
        elif name == "cancel":
            number = len(self.requests) + 1
            units = Units.of(1, 1 + pick, 6)
            self.requests[g.cancel(request=number).request_id] = (units, flag)
            event = g.cancel(units, request=number, standing=flag)
            self.did(custody.cancel(self.leg, event, now))
            self.did(custody.cancel(self.leg, event, now))
        elif parcels:
            parcel = parcels[pick % len(parcels)]
            self.on_parcel(name, parcel.parcel_id)
        self.check()

    def on_parcel(self, name: str, parcel_id: str) -> None:
        g, now, leg = self.given, self.given.now, self.leg
        parcel = leg.parcel(parcel_id)
        assert parcel is not None
        try:
            if name == "label" and parcel.label is None:
                label: Label = g.label()
                done = {"label": label, "label_state": LabelState.BOUGHT, "expected_at": label.expected_at}
                self.leg = leg.with_parcel(parcel.put(**done))
            elif name == "hand":
                self.did(custody.hand_over(leg, parcel_id, "bob", None, now))
            elif name == "put_back":
                self.did(custody.put_back(leg, parcel_id, g.desk(), now))
            elif name == "scan":
                self.did(custody.scanned_by_carrier(leg, parcel_id, now, now))
            elif name == "deliver":
                self.did(custody.delivered(leg, parcel_id, now, None, now))
            elif name == "lose":
                self.did(custody.lost(leg, parcel_id, "lost", now))
            elif name == "return":
                self.did(custody.returned(leg, parcel_id, "back", now))
        except Refused:
            assert self.leg is leg

    def check(self) -> None:
        ended: Counter[tuple[int, int]] = Counter()
        for parcel in self.leg.parcels:
            assert not parcel.packed & parcel.held_back and not parcel.packed & parcel.put_back
            assert not parcel.held_back & parcel.put_back
            assert parcel.station is Station.DOCK or not parcel.waiting
            ended.update(parcel.put_back.each())
        for event in self.events:
            if isinstance(event, Delivered):
                ended.update(event.units.each())
        assert all(count == 1 for count in ended.values()), "a unit ended twice"
        answers: dict[tuple[str, str | None], Units] = {}
        for event in self.events:
            if isinstance(event, UnitsCancelled | CancelRefused):
                key = (event.request_id, event.container_id)
                assert not answers.get(key, Units()) & event.units, "a unit was answered twice in one container"
                answers[key] = answers.get(key, Units()) | event.units

    def finish(self) -> None:
        """Bring everything to rest: then every request has an answer for each unit that shipping still holds or ended."""
        for parcel in self.leg.parcels:
            if parcel.waiting:
                self.on_parcel("put_back", parcel.parcel_id)
        for parcel in self.leg.parcels:
            for name in ("label", "hand", "deliver"):
                self.on_parcel(name, parcel.parcel_id)
        self.check()
        ours = Units.union(p.put_back | (p.packed if p.end == "delivered" else Units()) for p in self.leg.parcels)
        for request_id, (units, _) in self.requests.items():
            answered = Units.union(
                e.units
                for e in self.events
                if isinstance(e, UnitsCancelled | CancelRefused) and e.request_id == request_id
            )
            assert units & ours <= answered, f"{request_id} has no answer for {units & ours - answered}"


@settings(max_examples=300, deadline=None)
@for_all(history=moves)
def test_random_histories_keep_the_protocol(given: Any, history: list[tuple[str, int, bool]]) -> None:
    """A8: every unit ends once, every request is answered for each unit that ends with us, once per container."""
    play = Play(given)
    for name, pick, flag in history:
        play.step(name, pick, flag)
    play.finish()
