"""What a trial needs of its system, and such a system: fresh, on free ports, gone without a trace afterwards."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

from expedite_local import state
from expedite_local.child import ProcessSpec
from expedite_local.demo import client
from expedite_local.doctor import raise_file_limit
from expedite_local.home import Home
from expedite_local.screen import Screen
from expedite_local.up import Options, System, running

HARNESS = Path(__file__).parents[1]
SPEED = 86_400.0
"""Business seconds per real second: a day a second, so that parcels arrive, or are lost and sent again, while a trial waits
for them."""
PATIENCE_S = 300.0
"""For the parties around the system: who gave up on a busy machine would only hide what became of it."""
RULES = {
    # Customers answer although a service is away for days of business time; nobody waits three days to confirm.
    "EXPEDITE_COMPLETION_HOURS": "20000",
    "EXPEDITE_REVIEW_HOURS": "20000",
    "EXPEDITE_PAYMENT_HOURS": "20000",
    "EXPEDITE_CONFIRM_HOURS": "12",
    # Mail leaves at once, so that everything rests soon.
    "NOTIFIER_MAILS_PER_S": "0",
}

Fit = Callable[[Home, Options], AbstractAsyncContextManager[Options]]


@asynccontextmanager
async def unfitted(_home: Home, options: Options) -> AsyncIterator[Options]:
    """Nothing special."""
    yield options


@dataclass(frozen=True)
class Ground:
    """A kind of system. Trials whose grounds are equal share one, one after the other; `name` tells it. `scale`: copies of
    workers by service. `fit` is entered before the start and left after the end (mounts, proxies, shims) and returns the
    options to start with. `speed`: business seconds per real second."""

    name: str
    scale: tuple[tuple[str, int], ...] = ()
    fit: Fit = unfitted
    speed: float = SPEED


def armed(*roles: str) -> Fit:
    """A fit whose named processes (as in `inventory-standard`: every copy) have failpoints; their tokens lie in
    `failpoints` beside the home."""

    @asynccontextmanager
    async def fit(home: Home, options: Options) -> AsyncIterator[Options]:
        tokens = tokens_of(home)
        tokens.mkdir(parents=True, exist_ok=True)

        def adapt(spec: ProcessSpec) -> ProcessSpec:
            spec = options.adapt(spec)
            if f"{spec.service}-{spec.role}" not in roles:
                return spec
            return replace(
                spec,
                argv=altered(spec.argv, ["failpoints"]),
                env={**spec.env, "EXPEDITE_FAILPOINTS": str(tokens)},
            )

        yield replace(options, adapt=adapt)

    return fit


def altered(argv: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The command line of a service (`python -m module …`) under alterations, see `expedite_altered`; those it has stay."""
    python, flag, *rest = argv
    if rest[0] == "expedite_altered":
        names, rest = [*rest[1].split(","), *names], rest[2:]
    return (python, flag, "expedite_altered", ",".join(names), *rest)


def together(*fits: Fit) -> Fit:
    """Several fits as one, each around the next; each must go on from the options it is given."""

    @asynccontextmanager
    async def fit(home: Home, options: Options) -> AsyncIterator[Options]:
        async with AsyncExitStack() as stack:
            for one in fits:
                options = await stack.enter_async_context(one(home, options))
            yield options

    return fit


def tokens_of(home: Home) -> Path:
    """Where the failpoints of a system are armed."""
    return home.root.parent / "failpoints"


@asynccontextmanager
async def opened(ground: Ground, folder: Path, seed: int) -> AsyncIterator[System]:
    """A running system on this ground. The folder keeps the logs; the servers' data is deleted."""
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP", "NOTIFIER_SMTP_HOST"):
        os.environ.pop(name, None)  # what is tormented here is never somebody's
    client.PATIENCE_S = PATIENCE_S
    raise_file_limit()
    home = Home(folder / "home")
    tokens_of(home).mkdir(parents=True, exist_ok=True)
    options = Options(
        speed=ground.speed, port_base=0, fresh=True, show_logs=False, seed=seed, scale=dict(ground.scale), extra=RULES
    )
    path = os.pathsep.join(filter(None, (str(HARNESS), os.environ.get("PYTHONPATH"))))
    async with AsyncExitStack() as stack:
        # Of all processes, the nursery too: what is altered must start as fast as it does elsewhere.
        stack.enter_context(patch.dict(os.environ, {"PYTHONPATH": path}))
        stack.enter_context(state.hold(home))
        options = await stack.enter_async_context(ground.fit(home, options))
        yield await stack.enter_async_context(running(System(home, options, Screen())))
