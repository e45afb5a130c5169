"""Large pages for PostgreSQL's shared memory.

Every session maps the shared buffers for itself, page by page as it touches them. With pages of 4 KB that is a fifth of what
PostgreSQL costs under load (docs/performance.md); with pages of 2 MB it is nothing. PostgreSQL takes them when it can
(`huge_pages = try`), and Linux makes them on demand up to a limit that is zero by default. Nothing is reserved: they come
when the server starts and are everybody's memory again when it ends, whatever ends it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

LIMIT = Path("/proc/sys/vm/nr_overcommit_hugepages")
MEMORY = Path("/proc/meminfo")


class HugePages:
    """The system's limit for one server: raised for its start when we may, put back when it has ended."""

    def __init__(self, limit: Path = LIMIT, memory: Path = MEMORY) -> None:
        self._limit, self._memory = limit, memory
        self._raised: tuple[int, int] | None = None  # from, to

    def allow(self, pages: int) -> bool:
        """Let a server have so many pages; False where we may not, or memory is short: it then has small ones.

        A second server beside one that has them gets small ones too: large pages are taken whole at once, and two systems
        on one machine are not what it is laid out for.
        """
        with suppress(OSError, KeyError, ValueError):
            memory = self._known()
            if memory["MemAvailable"] < 2 * pages * memory["Hugepagesize"]:
                return False
            before = int(self._limit.read_text(encoding="ascii"))
            if before < pages:
                self._limit.write_text(str(pages), encoding="ascii")
                self._raised = before, pages
            return True
        return False

    def restore(self) -> None:
        """Put the limit back, unless somebody else has set it since. Pages in use stay with who has them."""
        if self._raised is None:
            return
        (before, after), self._raised = self._raised, None
        with suppress(OSError, ValueError):
            if int(self._limit.read_text(encoding="ascii")) == after:
                self._limit.write_text(str(before), encoding="ascii")

    def _known(self) -> dict[str, int]:
        """Sizes in KB, and counts."""
        lines = self._memory.read_text(encoding="ascii").splitlines()
        return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if rest.split()}
