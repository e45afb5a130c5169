"""Write everything that is generated from the event catalogue, or check that it is fresh and additive.

    uv run python contracts/generate.py           write schemas/, asyncapi.yaml and docs/events.md
    uv run python contracts/generate.py --check   exit 1 when a file is stale, left over, or breaks an earlier version

Every version of a schema that was ever committed must stay readable: a change that is not additive is refused, here and
in CI; make a new type beside the old one instead.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

from expedite_events import CATALOGUE
from expedite_events.compatibility import breaking_changes
from expedite_events.documents import asyncapi, events_page, schema, schema_name

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = ROOT / "contracts"


def wanted() -> dict[Path, str]:
    """Every generated file and its text."""
    files = {
        CONTRACTS / "schemas" / schema_name(row): json.dumps(schema(row), indent=2, ensure_ascii=False) + "\n"
        for row in CATALOGUE
    }
    files[CONTRACTS / "asyncapi.yaml"] = yaml.safe_dump(asyncapi(), sort_keys=False, allow_unicode=True, width=120)
    files[ROOT / "docs" / "events.md"] = events_page()
    return files


def earlier_versions(path: Path) -> list[tuple[str, str]]:
    """(commit, text) of every committed version of a file, newest first; none outside a git checkout."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else ""

    name = path.relative_to(ROOT).as_posix()
    return [(commit, git("show", f"{commit}:{name}")) for commit in git("log", "--format=%h", "--", name).split()]


def problems(files: dict[Path, str], *, staleness: bool) -> list[str]:
    found = []
    for path, text in files.items():
        name = path.relative_to(ROOT).as_posix()
        if staleness and (not path.exists() or path.read_text() != text):
            found.append(f"{name} is stale: run `make contracts`")
        if path.suffix == ".json":
            for commit, old in earlier_versions(path):
                if old:
                    found += [
                        f"{name} breaks {commit}: {b}" for b in breaking_changes(json.loads(old), json.loads(text))
                    ]
    left_over = set((CONTRACTS / "schemas").glob("*.json")) - set(files)
    found += [f"{path.relative_to(ROOT).as_posix()} has no event in the catalogue" for path in sorted(left_over)]
    return found


def main() -> int:
    files = wanted()
    check = "--check" in sys.argv[1:]
    found = problems(files, staleness=check)
    for problem in found:
        print(problem, file=sys.stderr)
    if not check and not found:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        print(f"{len(files)} files written")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
