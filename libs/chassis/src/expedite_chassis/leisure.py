"""Work that gives way: bulk runs as batch work of the processor, and urgent requests after it do not wait.

Entrances of urgent orders run in the real-time class where the system allows it (ADR 7). Only the process itself knows when
what it does is bulk, and when that has ended; seen from outside it is merely busy, and stays suspect for seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_SUPPORTED = hasattr(os, "SCHED_BATCH")


class _Leisure:
    """What this process remembers while bulk work runs: how much of it, and the class its thread had before."""

    def __init__(self) -> None:
        self.running = 0
        self.before: tuple[int, os.sched_param] | None = None


_LEISURE = _Leisure()


@contextmanager
def leisurely() -> Iterator[None]:
    """Run the calling thread as batch work until the last such block of the process ends, then in the class it had before,
    or like everybody where that is not allowed. All blocks belong to one thread, that of the event loop. Without Linux's
    classes it does nothing."""
    if not _SUPPORTED:
        yield
        return
    if not _LEISURE.running:
        _LEISURE.before = os.sched_getscheduler(0), os.sched_getparam(0)
        _become(os.SCHED_BATCH)
    _LEISURE.running += 1
    try:
        yield
    finally:
        _LEISURE.running -= 1
        if not _LEISURE.running and _LEISURE.before is not None:
            (policy, param), _LEISURE.before = _LEISURE.before, None
            try:
                os.sched_setscheduler(0, policy, param)
            except OSError:
                _become(os.SCHED_OTHER)


def _become(policy: int) -> None:
    """Another class of the same thread; children begin like everybody."""
    with suppress(OSError):
        os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, os.sched_param(0))
