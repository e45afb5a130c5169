"""Order-intake alone, over memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from order_intake.testing import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def api(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """A client that may do everything."""
    async with world.client() as http:
        yield http
