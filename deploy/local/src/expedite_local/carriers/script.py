"""What happens to a parcel on its way, as a pure function of seed, number and hand-over: a restarted carrier tells the
same story again, checkpoint by checkpoint, and receivers recognise it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from expedite_local.carriers.chance import draw, short_hash

LOST, RETURNED, DELAYED, FAILED_ATTEMPT = 0.03, 0.04, 0.06, 0.05
PICKED_UP = 0.04  # of the way
REPEATED, RENAMED, SWAPPED = 0.08, 0.04, 0.06
HUBS = ("Daventry", "Warrington", "Arras", "Duisburg", "Liege", "Eastern Creek", "Poznan", "Bristol")


@dataclass(frozen=True, slots=True)
class Step:
    """One checkpoint. `status` and `detail` are EasyPost's words; `native` is ours."""

    at: datetime
    status: str
    detail: str
    native: str
    message: str
    location: str | None = None
    expected_at: datetime | None = None
    signed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """One webhook of the story: which checkpoint, when, and under which event id."""

    at: datetime
    step: int
    event_id: str


@dataclass(frozen=True, slots=True)
class Story:
    """All checkpoints of a parcel and the webhooks that tell them."""

    steps: tuple[Step, ...]
    sends: tuple[Send, ...]


def first_word(handed_at: datetime, expected_at: datetime) -> datetime:
    """Nothing of a parcel's story is told earlier."""
    return handed_at + _way(handed_at, expected_at) * PICKED_UP


def _way(handed_at: datetime, expected_at: datetime) -> timedelta:
    return max(expected_at - handed_at, timedelta(hours=1))


def tell(seed: int, carrier_id: str, number: str, handed_at: datetime, expected_at: datetime) -> Story:
    """The story of one parcel from its hand-over on."""
    steps = _steps(seed, number, handed_at, expected_at)
    return Story(steps, _sends(seed, carrier_id, number, steps))


def _steps(seed: int, number: str, handed_at: datetime, expected_at: datetime) -> tuple[Step, ...]:
    way = _way(handed_at, expected_at)
    hub = HUBS[int(draw(seed, number, "hub") * len(HUBS))]
    fate = draw(seed, number, "fate")

    def at(part: float) -> datetime:
        return handed_at + way * part

    steps = [
        Step(at(PICKED_UP), "in_transit", "received_at_origin_facility", "picked_up", "Parcel picked up"),
        Step(at(0.2), "in_transit", "departed_facility", "in_transit", "Departed from hub", hub),
    ]
    if fate < LOST:
        lost = Step(at(1.3), "failure", "lost", "lost", "Parcel declared lost after a search", hub)
        return (*steps, lost)
    late = timedelta(0)
    if fate > 1 - DELAYED:
        late = way * 0.5 + timedelta(hours=6)
        eta = expected_at + late
        steps.append(Step(at(0.5), "in_transit", "delayed", "delivery_delayed", "Delayed: vehicle breakdown", hub, eta))
    steps.append(Step(at(0.6) + late, "in_transit", "arrived_at_facility", "in_transit", "Arrived at depot", "Depot"))
    steps.append(Step(at(0.8) + late, "out_for_delivery", "out_for_delivery", "out_for_delivery", "Out for delivery"))
    if fate < LOST + RETURNED:
        back = (
            Step(at(0.9), "failure", "address_correction", "delivery_failed", "Recipient unknown at this address"),
            Step(at(1.1), "return_to_sender", "return", "return_to_sender", "Returning to sender", hub),
            Step(at(1.6), "return_to_sender", "returned", "returned", "Back at the sender"),
        )
        return (*steps, *back)
    end = 0.85 + 0.14 * draw(seed, number, "end")
    if draw(seed, number, "attempt") < FAILED_ATTEMPT:
        steps.append(Step(at(0.85) + late, "failure", "delivery_attempted", "delivery_failed", "Nobody at home"))
        steps.append(
            Step(at(0.95) + late, "out_for_delivery", "out_for_delivery", "out_for_delivery", "Second attempt")
        )
        end = 0.99
    steps.append(
        Step(at(end) + late, "delivered", "arrived_at_destination", "delivered", "Delivered", "Door",
             signed_by="Recipient")
    )  # fmt: skip
    return tuple(steps)


def _sends(seed: int, carrier_id: str, number: str, steps: tuple[Step, ...]) -> tuple[Send, ...]:
    """Webhooks in the order they leave: some twice, some under a new id, some before the one they follow."""
    sends: list[Send] = []
    for index, step in enumerate(steps):
        event_id = f"evt_{short_hash(seed, carrier_id, number, index)}"
        sends.append(Send(step.at, index, event_id))
        if draw(seed, number, "repeat", index) < REPEATED:
            sends.append(Send(step.at + timedelta(minutes=2), index, event_id))
        if draw(seed, number, "rename", index) < RENAMED:
            sends.append(Send(step.at + timedelta(minutes=5), index, event_id + "b"))
    sends.sort(key=lambda send: send.at)
    for i in range(len(sends) - 1):
        if draw(seed, number, "swap", i) < SWAPPED:
            early, late = sends[i], sends[i + 1]
            sends[i], sends[i + 1] = late, replace(early, at=late.at)
    return tuple(sends)
