"""Puts the sagas' harness on the path: contracts are recorded from a real scenario."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "saga" / "harness"))
