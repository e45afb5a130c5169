"""A service's process as it might be: `python -m expedite_altered twice,shuffled inventory.main --role standard`.

    failpoints    it dies as by `kill -9` in the middle of what matters most, when told to (see `failpoints`)
    twice         its relay publishes every event twice
    shuffled      its relay publishes what it reads with the keys interleaved at random, each key in its order
    unguarded     it takes its slot without asking whether another process has it
    next-version  the code of the next release, which knows one more optional field of an order and says it (`NEXT`)

The product knows nothing of this: the parts are replaced before the service's module runs, which is why this file imports
nothing of the product and is in no package that does.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import random
import runpy
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

FIELD, SAID = "gift_note", "with love"
NEXT = {
    "expedite_events.base": ("    tags: tuple[str, ...] = ()\n", f"    {FIELD}: str | None = None\n"),
    "order_intake.domain.order": ("        brief=OrderBrief(\n", f"            {FIELD}={SAID!r},\n"),
}
"""Per module of the product a line of it and the one that the next version has behind it."""


class _NextSource(importlib.machinery.SourceFileLoader):
    """Loads a module with one more line, past every cache."""

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        return compile(grown(fullname, self.get_data(path).decode()), path, "exec")


class _NextFinder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in NEXT:
            return None
        known = importlib.machinery.PathFinder.find_spec(fullname, path)
        if known is not None and known.origin is not None:
            known.loader = _NextSource(fullname, known.origin)
        return known


def grown(module: str, text: str) -> str:
    """The source of a module as the next version has it. Raises ImportError when the line is not there exactly once."""
    line, more = NEXT[module]
    if text.count(line) != 1:
        raise ImportError(f"{module} has the line {line!r} {text.count(line)} times: its next version cannot be made")
    return text.replace(line, line + more)


def next_version() -> None:
    sys.meta_path.insert(0, _NextFinder())


def failpoints() -> None:
    """A file `<module>.<role>.<point>.<n>.armed` in $EXPEDITE_FAILPOINTS lets the next process of that role that passes the
    point die, once: the file becomes `….bit`. Points:

    before-commit    a transaction is decided and written, not committed
    after-commit     it is committed, nobody was told
    before-offsets   a batch is committed, its offsets are not: Kafka delivers it again
    before-delete    the broker has the events, the outbox still holds them: the relay publishes them again
    """
    from expedite_messaging.kafka import LaneConsumer
    from expedite_messaging.postgres import PostgresEngine
    from expedite_messaging.relay import Relay

    folder, module = Path(os.environ["EXPEDITE_FAILPOINTS"]), sys.argv[2].split(".")[0]
    role = sys.argv[sys.argv.index("--role") + 1]

    def passing(point: str) -> None:
        for token in sorted(folder.glob(f"{module}.{role}.{point}.*.armed")):
            with suppress(FileNotFoundError):
                token.rename(token.with_suffix(".bit"))
                os.kill(os.getpid(), signal.SIGKILL)

    commit, deliver, send = PostgresEngine._commit, LaneConsumer._deliver, Relay._send

    async def committing(self: Any, raw: Any, session: Any) -> None:
        wrote = session.xact is not None
        if wrote:
            passing("before-commit")
        await commit(self, raw, session)
        if wrote:
            passing("after-commit")

    async def delivering(self: Any, records: Any, generation: int) -> bool:
        done = await deliver(self, records, generation)
        if done:
            passing("before-offsets")
        return done

    async def sending(self: Any, producer: Any, bundles: Any) -> Any:
        acked, broken = await send(self, producer, bundles)
        if acked:
            passing("before-delete")
        return acked, broken

    PostgresEngine._commit = committing  # type: ignore[method-assign]
    LaneConsumer._deliver = delivering  # type: ignore[method-assign]
    Relay._send = sending  # type: ignore[method-assign]


def twice() -> None:
    from expedite_messaging.relay import Relay

    send = Relay._send

    async def sending(self: Any, producer: Any, bundles: Any) -> Any:
        acked, broken = await send(self, producer, bundles)
        if broken is None:
            there = set(acked)
            _, broken = await send(self, producer, [bundle for bundle in bundles if bundle.number in there])
        return acked, broken

    Relay._send = sending  # type: ignore[method-assign]


def shuffled() -> None:
    from expedite_messaging.relay import Relay

    send, rnd = Relay._send, random.Random("shuffled")

    async def sending(self: Any, producer: Any, bundles: Any) -> Any:
        return await send(self, producer, mixed(bundles, rnd))

    Relay._send = sending  # type: ignore[method-assign]


def mixed(bundles: Sequence[Any], rnd: random.Random) -> list[Any]:
    """The bundles with their shards interleaved at random, each shard's bundles, and so each key's events, in their order."""
    waiting: dict[int, list[Any]] = defaultdict(list)
    for bundle in reversed(bundles):
        waiting[bundle.shard].append(bundle)
    turns = [bundle.shard for bundle in bundles]
    rnd.shuffle(turns)
    return [waiting[shard].pop() for shard in turns]


def unguarded() -> None:
    from expedite_messaging.runtime import SlotGuard

    async def nothing(self: Any, *_: Any, **__: Any) -> None: ...

    async def for_ever(self: Any) -> None:
        import asyncio

        await asyncio.Event().wait()

    SlotGuard.acquire = nothing  # type: ignore[method-assign]
    SlotGuard.keep = for_ever  # type: ignore[method-assign]


ALTERATIONS: dict[str, Callable[[], None]] = {
    "failpoints": failpoints,
    "twice": twice,
    "shuffled": shuffled,
    "unguarded": unguarded,
    "next-version": next_version,
}


def main() -> None:
    """Alter, then run the module named behind the alterations as `python -m` would."""
    names, module = sys.argv[1].split(","), sys.argv[2]
    for name in sorted(
        names, key=list(ALTERATIONS).index, reverse=True
    ):  # what is imported comes before what it replaces
        ALTERATIONS[name]()
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
