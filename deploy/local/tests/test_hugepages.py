"""The limit of large pages: raised when there is memory for it, put back, never lowered below what others set."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from expedite_local.hugepages import HugePages
from expedite_local.postgres import PostgresServer


@pytest.fixture
def limit(tmp_path: Path) -> Path:
    path = tmp_path / "nr_overcommit_hugepages"
    path.write_text("0\n")
    return path


def memory(tmp_path: Path, available_mb: int) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(
        f"MemTotal:       24676832 kB\nMemAvailable:   {available_mb * 1024} kB\n"
        "HugePages_Total:       0\nHugepagesize:       2048 kB\n"
    )
    return path


def test_the_limit_is_raised_for_the_server_and_put_back(tmp_path: Path, limit: Path) -> None:
    pages = HugePages(limit, memory(tmp_path, 8_000))
    assert pages.allow(1_599)
    assert int(limit.read_text()) == 1_599
    pages.restore()
    assert int(limit.read_text()) == 0
    limit.write_text("7")
    pages.restore()  # a second time: nothing of ours is left
    assert int(limit.read_text()) == 7


def test_little_memory_is_left_alone(tmp_path: Path, limit: Path) -> None:
    assert not HugePages(limit, memory(tmp_path, 6_000)).allow(1_599)
    assert int(limit.read_text()) == 0


def test_a_limit_that_suffices_stays(tmp_path: Path, limit: Path) -> None:
    limit.write_text("4000")
    pages = HugePages(limit, memory(tmp_path, 8_000))
    assert pages.allow(1_599)
    pages.restore()
    assert int(limit.read_text()) == 4_000


def test_a_limit_that_was_set_by_others_meanwhile_stays(tmp_path: Path, limit: Path) -> None:
    pages = HugePages(limit, memory(tmp_path, 8_000))
    pages.allow(1_599)
    limit.write_text("3000")
    pages.restore()
    assert int(limit.read_text()) == 3_000


def test_a_system_without_such_pages_or_rights_goes_on(tmp_path: Path, limit: Path) -> None:
    nowhere = tmp_path / "nothing"
    assert not HugePages(nowhere, memory(tmp_path, 8_000)).allow(10)
    assert not HugePages(limit, nowhere).allow(10)
    (tmp_path / "meminfo").write_text("MemAvailable: 8000000 kB\n")
    assert not HugePages(limit, tmp_path / "meminfo").allow(10)
    assert int(limit.read_text()) == 0


def test_a_server_is_allowed_what_it_needs_while_it_runs(tmp_path: Path, limit: Path) -> None:
    async def said() -> str:
        connection = await asyncpg.connect(server.uri)
        try:
            return str(await connection.fetchval("SHOW shared_memory_size_in_huge_pages"))
        finally:
            await connection.close()

    settings = {"shared_buffers": "64MB"}
    server = PostgresServer(tmp_path / "server", 0, settings=settings, huge_pages=HugePages(limit))
    server.start()
    try:
        assert int(limit.read_text()) == int(asyncio.run(said())) > 32
    finally:
        server.stop()
        server.wipe()
    assert int(limit.read_text()) == 0
