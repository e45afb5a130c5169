"""Throw-away copies of the tree: the only place where anything is changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from expedite_mutants.mutant import ROOT, Mutant

_TAKEN = ("libs", "services", "deploy", "tests", "contracts", "conftest.py", "pyproject.toml")
_LEFT = shutil.ignore_patterns("__pycache__", "node_modules", ".*_cache", ".hypothesis", "results")


class Copy:
    """A copy of the sources and tests below `folder`, imported in place of the installed packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in _TAKEN:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=_LEFT)
            else:
                shutil.copy2(ROOT / name, folder / name)

    @contextmanager
    def with_fault(self, mutant: Mutant | None) -> Iterator[None]:
        """The copy with one fault in it (None: as it is), until the block ends."""
        if mutant is None:
            yield
            return
        path = self.folder / mutant.file
        sound = path.read_text()
        try:
            _write(path, mutant.applied(sound))
            yield
        finally:
            _write(path, sound)

    def environment(self, **more: str) -> dict[str, str]:
        """The environment in which this copy's packages are found first."""
        sources = [*sorted(self.folder.glob("libs/*/src")), *sorted(self.folder.glob("services/*/src"))]
        sources.append(self.folder / "deploy/local/src")
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, sources)),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(self.folder / ".hypothesis"),
            **more,
        }


def _write(path: Path, text: str) -> None:
    """A compiled file is known by its source's size and second: both may be those of the last fault."""
    path.write_text(text)
    for stale in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        stale.unlink()
