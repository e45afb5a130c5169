"""Priority inheritance: who holds rows that urgent work waits for must not wait for the processor.

Standard workers run nicely. While one of them holds such rows it runs like those who wait, if the system lets it: taking
niceness back is a privilege on Linux. Without it the worker just stays nice.
"""

from __future__ import annotations

import os
from pathlib import Path

_AUTOGROUP = Path("/proc/self/autogroup")


class Haste:
    """The niceness of this process, put aside while any of its transactions holds such rows."""

    def __init__(self) -> None:
        self._nice = os.getpriority(os.PRIO_PROCESS, 0)
        self._possible = self._nice > 0
        self._holders: set[object] = set()

    def hurry(self, holder: object = None) -> None:
        """Be like those who wait for what `holder` has."""
        if self._possible:
            self._possible = bool(self._holders) or self._be(0)
            self._holders.add(holder)

    def calm(self, holder: object = None) -> None:
        """Be nice again, unless others hold something. Whoever did not hurry changes nothing."""
        if holder in self._holders:
            self._holders.remove(holder)
            if not self._holders:
                self._be(self._nice)

    @staticmethod
    def _be(nice: int) -> bool:
        """Linux shares the processor between sessions first, so the session's niceness counts as well."""
        try:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
            if _AUTOGROUP.exists():
                _AUTOGROUP.write_text(str(nice), encoding="ascii")
        except OSError:
            return False
        return True
