"""A profiler inside a real service process, switched on and off by SIGUSR2. The benchmark puts this folder on the path of
the processes it starts; the product knows nothing of it. The profile goes to $EXPEDITE_PROFILE/<module>-<role>.prof."""

from __future__ import annotations

import cProfile
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

FOLDER = os.environ.get("EXPEDITE_PROFILE")


def _toggle(path: Path) -> Any:
    running: list[cProfile.Profile] = []

    def toggle(*_: Any) -> None:
        if running:
            profile = running.pop()
            profile.disable()
            profile.dump_stats(path)
        else:
            # CPU time: waiting, and whoever else uses the machine, is not what a profile of a loop is for.
            running.append(cProfile.Profile(time.process_time))
            running[0].enable()

    return toggle


if FOLDER and "--role" in sys.orig_argv and "-m" in sys.orig_argv:
    words = sys.orig_argv
    name = f"{words[words.index('-m') + 1].split('.')[0].replace('_', '-')}-{words[words.index('--role') + 1]}"
    signal.signal(signal.SIGUSR2, _toggle(Path(FOLDER) / f"{name}.prof"))
