"""What the servers write goes to the disk as it comes.

Linux keeps a written page for half a minute and then writes all of its file at once. PostgreSQL extends its tables faster
than its own write-out settings notice: under load that is hundreds of megabytes every thirty seconds, and every commit of
every service waits behind them (0.1 to 0.25 s measured). Here the system is asked twice a second to begin with what is new:
not for all files in one moment, which a disk with little left to give takes 0.3 s for, but for some of them at a time.
Nothing waits for that, and nothing relies on it: what PostgreSQL promised is in its log, which it flushes itself.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

EVERY_S = 0.5
PARTS = 10
"""A round is spread over the time until the next."""
_PART = 8
"""So few files are no round to spread."""
SEARCH_S = 10.0
"""Between two looks at all files; in between only those that were written lately are looked at."""
LATELY_S = 10.0
_SLACK_NS = 20_000_000
"""Times of files are those of the last tick of the kernel's clock."""
_BEGIN = 2  # SYNC_FILE_RANGE_WRITE of linux/fs.h: begin to write what is dirty, wait for nothing


class Writeback:
    """Files under some folders and when they were written, to hand over what is new round by round."""

    def __init__(self, begin: Callable[[int], None]) -> None:
        """begin: has the system begin to write the dirty pages of an open file."""
        self._begin = begin
        self._lately: set[str] | None = None
        self._round = self._search = time.time_ns()

    def round(self, folders: Iterable[Path]) -> Iterator[tuple[int, float]]:
        """Hand over every file that was written since it was looked at last, a part of them at a time: how many those were, and
        how many seconds to wait before the next."""
        now, known = time.time_ns(), self._lately or ()
        searching = self._lately is None or now - self._search >= SEARCH_S * 1e9
        names, lately = list(_files(folders) if searching else known), set[str]()
        size = max(_PART, -(-len(names) // PARTS))
        parts = [names[first : first + size] for first in range(0, len(names), size)] or [[]]
        for part in parts:
            count = 0
            for name in part:
                try:
                    written = os.stat(name).st_mtime_ns  # noqa: PTH116 - of thousands: paths cost more than the call
                    if written >= now - LATELY_S * 1e9:
                        lately.add(name)
                    if written >= (self._round if name in known else self._search) - _SLACK_NS:
                        self._hand_over(name)
                        count += 1
                except OSError:  # it was dropped meanwhile, or is not ours to read
                    continue
            yield count, EVERY_S / len(parts)
        self._lately, self._round = lately, now
        if searching:
            self._search = now

    def _hand_over(self, name: str) -> None:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            self._begin(file)
        finally:
            os.close(file)


def _files(folders: Iterable[Path]) -> Iterator[str]:
    for folder in folders:
        for parent, _, names in os.walk(folder):
            yield from (f"{parent}/{name}" for name in names)


def system_call() -> Callable[[int], None] | None:
    """`sync_file_range` for a whole file; None where there is none: other systems than Linux."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
    if call is None:
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]

    def begin(file: int) -> None:
        if call(file, 0, 0, _BEGIN):
            raise OSError(ctypes.get_errno(), "sync_file_range")

    return begin


async def keep(folders: Callable[[], Iterable[Path]]) -> None:
    """Hand over what is written under `folders` (asked each time) until cancelled."""
    begin = system_call()
    if begin is None:
        return
    writeback = Writeback(begin)
    while True:
        parts = writeback.round(list(folders()))
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            _, wait_s = part
            await asyncio.sleep(wait_s)
