"""Every import rule of the build is seen red once: a deliberate violation in a copy of the sources must be caught."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources without tests, as a tree that may be broken."""
    for source in [*ROOT.glob("libs/*/src"), *ROOT.glob("services/*/src"), ROOT / "deploy/local/src"]:
        shutil.copytree(
            source,
            tmp_path / source.relative_to(ROOT),
            ignore=shutil.ignore_patterns("__pycache__", "static", "*.json"),
        )
    shutil.copy(ROOT / ".importlinter", tmp_path)
    return tmp_path


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(
        str(p) for p in [*tree.glob("libs/*/src"), *tree.glob("services/*/src"), tree / "deploy/local/src"]
    )
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    return subprocess.run(
        [*command, "--no-cache"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def house_rules(tree: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "tools/house_rules.py", tree], capture_output=True, text=True, check=False
    )


def append(tree: Path, file: str, line: str) -> None:
    path = tree / file
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as out:
        out.write(f"\n{line}\n")


def test_the_sources_keep_every_rule(copy: Path) -> None:
    assert lint_imports(copy).returncode == 0, lint_imports(copy).stdout
    assert house_rules(copy).returncode == 0, house_rules(copy).stdout


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("services/shipping/src/shipping/store.py", "import inventory", "services never import each other"),
        ("libs/events/src/expedite_events/units.py", "import expedite_messaging", "events below messaging"),
        ("libs/messaging/src/expedite_messaging/tx.py", "import expedite_chassis", "events below messaging"),
        ("services/inventory/src/inventory/domain/__init__.py", "import sqlalchemy", "domains do no I/O"),
        ("services/inventory/src/inventory/domain/__init__.py", "import asyncio", "domains do no I/O"),
        ("services/inventory/src/inventory/domain/__init__.py", "from inventory import store", "domains do no I/O"),
        ("services/notifier/src/notifier/__init__.py", "import aiokafka", "only messaging touches Kafka"),
    ],
)
def test_a_forbidden_import_is_caught(copy: Path, file: str, line: str, broken: str) -> None:
    append(copy, file, line)
    done = lint_imports(copy)
    assert done.returncode != 0
    assert any(broken in row and "BROKEN" in row for row in done.stdout.splitlines()), done.stdout


@pytest.mark.parametrize(
    ("file", "line", "says"),
    [
        ("libs/events/src/expedite_events/units.py", "import httpx", "may not import httpx"),
        ("libs/events/src/expedite_events/units.py", "import asyncio", "may not import asyncio"),
        ("services/inventory/src/inventory/domain/__init__.py", "import orjson", "may not import orjson"),
        ("services/inventory/src/inventory/domain/__init__.py", "import uuid", "may not import uuid"),
        ("services/inventory/src/inventory/domain/__init__.py", "async def f(): ...", "a domain is synchronous"),
        (
            "services/inventory/src/inventory/domain/__init__.py",
            "from datetime import datetime\nx = datetime.now()",
            "a domain has no clock",
        ),
        ("services/inventory/src/inventory/store.py", "def f(c): c.commit()", "belongs to expedite_messaging"),
    ],
)
def test_a_broken_house_rule_is_caught(copy: Path, file: str, line: str, says: str) -> None:
    append(copy, file, line)
    done = house_rules(copy)
    assert done.returncode == 1
    assert says in done.stdout
