"""Who holds what urgent orders wait for does not wait for the processor."""

from __future__ import annotations

import subprocess
import sys

import pytest
from expedite_sample.worlds import OnPostgres

from expedite_messaging import Tx
from expedite_messaging.haste import Haste
from expedite_messaging.testing import create_database, drop_database

_PROGRAM = """
import os
from expedite_messaging.haste import Haste
os.setpriority(os.PRIO_PROCESS, 0, 7)
haste, said = Haste(), []
def now(): said.append(os.getpriority(os.PRIO_PROCESS, 0))
haste.calm(); now()
haste.hurry(); haste.hurry(); now()
haste.calm(); now()
print(*said)
"""
_TWO = """
import os
from expedite_messaging.haste import Haste
os.setpriority(os.PRIO_PROCESS, 0, 7)
haste, said = Haste(), []
def now(): said.append(os.getpriority(os.PRIO_PROCESS, 0))
haste.hurry("a"); haste.hurry("b"); haste.calm("b"); haste.calm("a reader"); now()
haste.calm("a"); now()
print(*said)
"""


def test_niceness_is_put_aside_and_taken_up_again() -> None:
    """B4: once for any number of calls; where the system does not allow it the process stays nice."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, start_new_session=True
    )
    assert done.stdout.split() in (["7", "0", "7"], ["7", "7", "7"])


def test_one_transaction_does_not_calm_another() -> None:
    """B4: a job or a query that ends meanwhile leaves whoever still holds rows in haste."""
    done = subprocess.run(
        [sys.executable, "-c", _TWO], capture_output=True, text=True, check=True, start_new_session=True
    )
    assert done.stdout.split() in (["0", "7"], ["7", "7"])


async def test_the_end_of_a_transaction_hurries_and_then_is_calm(
    postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first of the last things to the commit, and after a failure too."""
    said: list[str] = []
    monkeypatch.setattr(Haste, "hurry", lambda self, holder: said.append("hurry"))
    monkeypatch.setattr(Haste, "calm", lambda self, holder: said.append("calm"))
    url = await create_database("expedite_sample")
    world = OnPostgres(url)
    await world.start()
    try:
        said.clear()

        async def last() -> None:
            said.append("last")

        async def fails() -> None:
            raise ValueError

        async def work(tx: Tx) -> None:
            tx.at_last(last)

        async def broken(tx: Tx) -> None:
            tx.at_last(fails)

        await world.engine.transact(["A"], work)
        assert said == ["hurry", "last", "calm"]
        with pytest.raises(ValueError):
            await world.engine.transact(["A"], broken)
        assert said[3:] == ["hurry", "calm"]
    finally:
        await world.engine.close()
        await drop_database(url)
