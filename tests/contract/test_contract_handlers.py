"""Both directions: whoever is declared to hear an event has a handler, and nobody handles what is not declared."""

from __future__ import annotations

from dataclasses import replace

import pytest
from expedite_saga import golden
from expedite_saga.world import SPECS

from expedite_events import CATALOGUE, SERVICES, OrderCancelled, OrderState
from expedite_messaging import Handlers


def test_there_is_a_service_for_every_name() -> None:
    """I1: the catalogue's services are the ones that exist."""
    assert set(SPECS) == set(SERVICES)
    assert all(name == spec.handlers.service for name, spec in SPECS.items())


@pytest.mark.parametrize("service", SERVICES)
def test_handlers_are_the_declared_consumers(service: str) -> None:
    """I1: registered handlers == declared consumers."""
    assert golden.unheard(SPECS[service].handlers) == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_effect_a_service_listens_for_has_a_performer(service: str) -> None:
    """I1: results, performers and jobs fit together once `bind` has run."""
    from expedite_saga import World

    engine = World().engines[service]
    assert set(engine.handlers.results) <= set(engine.handlers.performers)


def test_no_orphans() -> None:
    """I1: each event has an owner and somebody who hears it."""
    assert golden.orphans() == []


def test_a_forgotten_handler_is_noticed() -> None:
    """I1: seen red: fulfillment without OrderCancelled."""
    whole = SPECS["fulfillment"].handlers
    holed = replace(whole, events={event: h for event, h in whole.events.items() if event is not OrderCancelled})
    assert golden.unheard(holed) == ["fulfillment has no handler of OrderCancelled"]


def test_an_undeclared_handler_is_noticed() -> None:
    """I1: seen red: registering is refused, and one slipped in is found."""
    own = Handlers("shipping")
    with pytest.raises(ValueError, match="not a declared consumer"):
        own.on(OrderState)
    whole = SPECS["shipping"].handlers
    slipped = replace(whole, events={**whole.events, OrderState: whole.events[OrderCancelled]})
    assert golden.unheard(slipped) == ["shipping handles OrderState, undeclared"]


def test_an_orphan_is_noticed() -> None:
    """I1: seen red: an event that nobody owns and nobody hears."""
    row = replace(next(r for r in CATALOGUE if r.topic == "OrderState"), owners=(), consumers=())
    assert golden.orphans([row]) == ["OrderState has no owner"]
