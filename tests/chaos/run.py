"""Runs trials: `python tests/chaos/run.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "harness"))

from expedite_chaos.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
