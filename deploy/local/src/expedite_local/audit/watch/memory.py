"""What the watch remembers, in a file of its own: stories, ids, positions. A batch is one transaction, so that a watch that
was killed goes on where its memory ends; in main memory is only the batch in hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

from expedite_events import from_json, to_json
from expedite_local.audit.watch.story import Story, Violation
from expedite_messaging.admin import Place

_TABLES = """
CREATE TABLE IF NOT EXISTS position (topic TEXT, partition INTEGER, next INTEGER, PRIMARY KEY (topic, partition));
CREATE TABLE IF NOT EXISTS seen (id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS story (key TEXT PRIMARY KEY, doc BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pending (generation INTEGER, key TEXT, PRIMARY KEY (generation, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owed (service TEXT, id TEXT, topic TEXT, key TEXT, sequence INTEGER, partition INTEGER,
  at INTEGER, PRIMARY KEY (service, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS missing (id BLOB PRIMARY KEY, generation INTEGER, service TEXT, topic TEXT, key TEXT);
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS violation (invariant TEXT, topic TEXT, partition INTEGER, at INTEGER, id TEXT, key TEXT,
  expected TEXT, UNIQUE (invariant, id, expected));
"""
_CHUNK = 500

Owed = tuple[str, str, str, int, int, int]
"""An event to find in its service's ledger: id, topic, key, sequence, partition, offset."""


class Memory:
    """The file. Everything is written by `transaction`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8000;" + _TABLES
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def forget(self) -> None:
        """Start anew."""
        with self.transaction():
            for table in ("position", "seen", "story", "pending", "owed", "missing", "fact", "violation"):
                self._db.execute(f"DELETE FROM {table}")

    def positions(self) -> dict[Place, int]:
        return {(topic, partition): at for topic, partition, at in self._db.execute("SELECT * FROM position")}

    def went_to(self, positions: Mapping[Place, int]) -> None:
        rows = [(*place, at) for place, at in positions.items()]
        self._db.executemany("INSERT OR REPLACE INTO position VALUES (?, ?, ?)", rows)

    def known(self, ids: Sequence[bytes]) -> set[bytes]:
        """Those of the ids that were seen."""
        found: set[bytes] = set()
        for part in _parts(ids):
            marks = ", ".join("?" * len(part))
            found |= {row[0] for row in self._db.execute(f"SELECT id FROM seen WHERE id IN ({marks})", part)}
        return found

    def saw(self, ids: Iterable[bytes]) -> None:
        self._db.executemany("INSERT OR IGNORE INTO seen VALUES (?)", ((one,) for one in ids))

    @property
    def events(self) -> int:
        """How many different events were seen."""
        return int(self._db.execute("SELECT count(*) FROM seen").fetchone()[0])

    def stories(self, keys: Sequence[str]) -> dict[str, Story]:
        """The stories of these keys, new ones where nothing was told."""
        found = {key: Story() for key in keys}
        for part in _parts(list(found)):
            marks = ", ".join("?" * len(part))
            for key, doc in self._db.execute(f"SELECT key, doc FROM story WHERE key IN ({marks})", part):
                found[key] = from_json(Story, doc)
        return found

    def remember(self, stories: Mapping[str, Story]) -> None:
        rows = ((key, to_json(story)) for key, story in stories.items())
        self._db.executemany("INSERT OR REPLACE INTO story VALUES (?, ?)", rows)
        needs = {(need.generation, key) for key, story in stories.items() for need in story.needs}
        self._db.executemany("INSERT OR IGNORE INTO pending VALUES (?, ?)", needs)

    def pending(self, generation: int, limit: int = _CHUNK) -> list[str]:
        """Keys with needs of this generation or an earlier one."""
        sql = "SELECT DISTINCT key FROM pending WHERE generation <= ? LIMIT ?"
        return [row[0] for row in self._db.execute(sql, (generation, limit))]

    def settled(self, generation: int, keys: Iterable[str]) -> None:
        sql = "DELETE FROM pending WHERE generation <= ? AND key = ?"
        self._db.executemany(sql, ((generation, key) for key in keys))

    @property
    def unsettled(self) -> int:
        return int(self._db.execute("SELECT count(DISTINCT key) FROM pending").fetchone()[0])

    @property
    def generation(self) -> int:
        """The highest generation anything waits for."""
        sql = "SELECT max(coalesce((SELECT max(generation) FROM pending), 0), coalesce((SELECT max(generation) FROM missing), 0))"
        return int(self._db.execute(sql).fetchone()[0])

    def owe(self, service: str, rows: Iterable[Owed]) -> None:
        sql = (
            "INSERT OR IGNORE INTO owed (service, id, topic, key, sequence, partition, at) VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        self._db.executemany(sql, ((service, *row) for row in rows))

    def owed(self, service: str, limit: int) -> list[Owed]:
        sql = "SELECT id, topic, key, sequence, partition, at FROM owed WHERE service = ? LIMIT ?"
        return list(self._db.execute(sql, (service, limit)))

    def paid(self, service: str, ids: Iterable[str]) -> None:
        self._db.executemany("DELETE FROM owed WHERE service = ? AND id = ?", ((service, one) for one in ids))

    def miss(self, rows: Iterable[tuple[bytes, int, str, str, str]]) -> None:
        self._db.executemany("INSERT OR IGNORE INTO missing VALUES (?, ?, ?, ?, ?)", rows)

    def missing(self, generation: int) -> list[tuple[bytes, str, str, str]]:
        """Ledger entries of this generation or an earlier one that were on no topic yet: id, service, topic, key."""
        sql = "SELECT id, service, topic, key FROM missing WHERE generation <= ?"
        return list(self._db.execute(sql, (generation,)))

    def looked_for(self, generation: int) -> None:
        self._db.execute("DELETE FROM missing WHERE generation <= ?", (generation,))

    def fact(self, name: str) -> str | None:
        row = self._db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def note(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    def accuse(self, violations: Iterable[Violation]) -> list[Violation]:
        """Keep violations; those that are new."""
        sql = "INSERT OR IGNORE INTO violation VALUES (?, ?, ?, ?, ?, ?, ?)"
        return [one for one in violations if self._db.execute(sql, astuple(one)).rowcount]

    @property
    def violations(self) -> dict[str, int]:
        """How many of each invariant are known."""
        return dict(self._db.execute("SELECT invariant, count(*) FROM violation GROUP BY invariant"))

    def close(self) -> None:
        self._db.close()


def _parts(rows: Sequence[str] | Sequence[bytes]) -> Iterator[Sequence[str] | Sequence[bytes]]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]
