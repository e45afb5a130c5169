"""Small libraries that come before a program's own: compiled here when there is a compiler, steered by a file."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from expedite_local.child import ProcessSpec
from expedite_local.home import Home
from expedite_local.up import Options

SOURCES = Path(__file__).parents[2] / "shims"
COMPILER = shutil.which("gcc") or shutil.which("cc")
_STEERED_BY = {"slow_fsync": "EXPEDITE_FSYNC_MS", "wall_clock": "EXPEDITE_CLOCK_OFF"}


@dataclass(frozen=True)
class Shim:
    """A compiled shim. `env` goes to the program; `set` steers it while it runs, `clear` makes it do nothing."""

    env: dict[str, str]
    file: Path

    def set(self, value: int) -> None:
        beside = self.file.with_suffix(".new")
        beside.write_text(str(value), encoding="ascii")
        beside.chmod(0o644)
        beside.replace(self.file)

    def clear(self) -> None:
        self.file.unlink(missing_ok=True)


class Steered:
    """A shim as part of a ground: around PostgreSQL, or around the processes of some services. `shim` is there while such a
    ground is taken."""

    def __init__(self, name: str, *services: str) -> None:
        self.name, self.services = name, services
        self._shim: Shim | None = None

    @property
    def shim(self) -> Shim:
        assert self._shim is not None, "the ground of this trial has no such shim"
        return self._shim

    @asynccontextmanager
    async def fit(self, _home: Home, options: Options) -> AsyncIterator[Options]:
        """A `Fit`; without a compiler it changes nothing."""
        if COMPILER is None:
            yield options
            return
        with compiled(self.name) as shim:
            self._shim = shim
            if self.services:

                def adapt(spec: ProcessSpec) -> ProcessSpec:
                    spec = options.adapt(spec)
                    return replace(spec, env={**spec.env, **shim.env}) if spec.service in self.services else spec

                yield replace(options, adapt=adapt)
            else:
                yield replace(options, postgres_env={**options.postgres_env, **shim.env})


@contextmanager
def compiled(name: str) -> Iterator[Shim]:
    """The shim of this name, in a folder that servers with other accounts may read too."""
    assert COMPILER is not None
    with tempfile.TemporaryDirectory(prefix="expedite-shim-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        library, file = folder / f"{name}.so", folder / "value"
        subprocess.run(
            [COMPILER, "-O2", "-shared", "-fPIC", "-o", library, SOURCES / f"{name}.c", "-ldl"],
            check=True,
            capture_output=True,
        )
        before = os.environ.get("LD_PRELOAD", "")
        yield Shim({"LD_PRELOAD": f"{library} {before}".strip(), _STEERED_BY[name]: str(file)}, file)
