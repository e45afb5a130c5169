"""Where a local system keeps its files: one folder per system, private to its user."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOME_VARIABLE = "EXPEDITE_HOME"
CACHE_VARIABLE = "EXPEDITE_CACHE"


@dataclass(frozen=True)
class Home:
    """The folder of one local system (`.expedite/` in the working folder, or `$EXPEDITE_HOME`)."""

    root: Path

    @classmethod
    def current(cls) -> Home:
        """The home that commands in this working folder talk to; the folder need not exist yet."""
        named = os.environ.get(HOME_VARIABLE)
        return cls(Path(named).expanduser().resolve() if named else Path.cwd() / ".expedite")

    def create(self) -> None:
        """Make the folders. The root is 0700: it holds passwords and keys."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        self.logs.mkdir(exist_ok=True)

    @property
    def logs(self) -> Path:
        """One log file per process (rotated copies end in .1, .2, …)."""
        return self.root / "logs"

    @property
    def state_file(self) -> Path:
        """What runs now: pids, ports, URLs. See `expedite_local.state`."""
        return self.root / "state.json"

    @property
    def lock_file(self) -> Path:
        """Held (flock) by the supervisor for as long as it lives."""
        return self.root / "up.lock"

    @property
    def secrets_file(self) -> Path:
        """Generated keys, secrets and passwords of this system. See `expedite_local.secrets`."""
        return self.root / "secrets.json"

    @property
    def databases_file(self) -> Path:
        """Generated database passwords, one per service."""
        return self.root / "databases.json"

    @property
    def clock_file(self) -> Path:
        """The anchors of the business clock. See `expedite_local.clock`."""
        return self.root / "clock.json"

    @property
    def mail(self) -> Path:
        """Mboxes with every message the notifier sent, one an hour."""
        return self.root / "mail"

    @property
    def audit(self) -> Path:
        """What the watch of the audit remembers."""
        return self.root / "audit"

    @property
    def kafka(self) -> Path:
        """Kafka's data and configuration."""
        return self.root / "kafka"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's folder as asked for; `expedite_local.postgres` moves it when run as root."""
        return self.root / "postgres"


def cache_folder() -> Path:
    """The user's cache of downloaded parts, shared by all homes (`$EXPEDITE_CACHE` overrides it)."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "expedite"


def short_hash(path: Path) -> str:
    """Ten hex digits that stand for a folder, the same in every process."""
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:10]


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner only, so that no reader ever sees half of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:  # mkstemp creates the file 0600
            stream.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_private_json(path: Path, value: Any) -> None:
    """`write_private` for a JSON value."""
    write_private(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in a file, or None when there is no such file.

    Raises ValueError (with the path in its text) when the file does not hold JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
