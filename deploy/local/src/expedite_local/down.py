"""`expedite down`: stop a running system from another terminal, clean up after a killed one, delete its data."""

from __future__ import annotations

import os
import shutil
import signal
import time

from expedite_local import state, warden
from expedite_local.errors import LocalError
from expedite_local.home import Home
from expedite_local.postgres import data_folder

STOP_SECONDS = 60.0


def down(home: Home) -> str:
    """Stop what runs in this home and say what was done.

    Raises LocalError when the supervisor does not end within STOP_SECONDS.
    """
    found = state.load(home)
    if found is None:
        if state.is_held(home):
            raise LocalError(f"a system is just starting or stopping in {home.root}; try again in a moment")
        return "nothing runs here"
    if found.running:
        os.kill(found.supervisor_pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while found.running:
            if time.monotonic() > deadline:
                raise LocalError(
                    f"the supervisor (process {found.supervisor_pid}) has not stopped after {STOP_SECONDS:.0f} s; "
                    f"see {home.logs}"
                )
            time.sleep(0.1)
        return "stopped"
    # The supervisor was killed: its warden ends the children; what it may have missed is ended here.
    left = state.clear_leftovers(home)
    state.remove(home)
    return f"the system here had been killed; {left} leftover processes ended"


def wipe(home: Home) -> None:
    """Delete everything of this home, data, keys and logs; nothing may run in it (raises AlreadyRunning)."""
    if not home.root.exists():
        return
    with state.hold(home):
        running = state.load(home)
        if running is not None and running.leftovers():
            warden.end_all([warden.Ward(p.pid, p.started, warden.SERVERS, 15) for p in running.leftovers()])
        shutil.rmtree(data_folder(home.postgres), ignore_errors=True)
        for known in (home.kafka, home.logs, home.mail, home.audit):
            shutil.rmtree(known, ignore_errors=True)
        for file in (home.state_file, home.secrets_file, home.databases_file, home.clock_file, home.lock_file):
            file.unlink(missing_ok=True)
    # Only if it is empty now: whatever else somebody put there is not ours to delete.
    if not any(home.root.iterdir()):
        home.root.rmdir()
