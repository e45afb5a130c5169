"""Homes, ports, secrets, the state file, the business clock, the plan."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from expedite_local import secrets, state, warden
from expedite_local.clock import BusinessClock, monday_morning
from expedite_local.down import down, wipe
from expedite_local.errors import AlreadyRunning, LocalError
from expedite_local.home import Home, write_private
from expedite_local.plan import Plan, Substance, parse_scale
from expedite_local.ports import PortPlan, port_is_free
from expedite_local.services import SERVICES, find, select

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def test_the_home_is_here_or_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EXPEDITE_HOME", raising=False)
    assert Home.current().root == tmp_path / ".expedite"
    monkeypatch.setenv("EXPEDITE_HOME", str(tmp_path / "other"))
    assert Home.current().root == tmp_path / "other"


def test_private_files_are_private_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("open to all")
    path.chmod(0o644)
    write_private(path, "closed")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "closed"
    assert list(tmp_path.iterdir()) == [path]


def test_secrets_are_made_once_private_and_grow_with_the_spec(home: Home) -> None:
    first = secrets.load_or_create(home, secrets.SecretsSpec({"shop": ["b", "a"]}, ["shopify"]))
    assert stat.S_IMODE(home.secrets_file.stat().st_mode) == 0o600
    grown = secrets.load_or_create(home, secrets.SecretsSpec({"shop": ["a"], "crew": []}, ["shopify"], ["swift-post"]))
    assert grown["api_keys"]["shop"] == {"key": first["api_keys"]["shop"]["key"], "scopes": ["a"]}
    assert grown["webhooks"]["shopify"] == first["webhooks"]["shopify"]
    assert grown["webhooks"]["swift-post"].startswith("whsec_")
    for name in ("jwt_private_pem", "jwt_public_pem", "link_secret", "operator_password"):
        assert grown[name] == first[name] != ""
    assert json.loads(home.secrets_file.read_text()) == grown


def test_the_signing_keys_are_a_pair(home: Home) -> None:
    import jwt

    made = secrets.load_or_create(home, secrets.LOCAL_SPEC)
    token = jwt.encode({"sub": "somebody"}, made["jwt_private_pem"], algorithm="EdDSA")
    assert jwt.decode(token, made["jwt_public_pem"], algorithms=["EdDSA"]) == {"sub": "somebody"}


def test_ports_are_offsets_from_one_base() -> None:
    plan = PortPlan.at(8000)
    assert plan.fixed["control-tower"] == 8080
    assert [plan.fixed[s.name] for s in SERVICES[:6]] == [8001, 8002, 8003, 8004, 8005, 8006]
    assert (plan.fixed["carriers"], plan.fixed["smtp"]) == (8010, 8025)
    assert PortPlan.at(9000).fixed == {name: port + 1000 for name, port in plan.fixed.items()}


def test_base_zero_finds_a_free_block_and_taken_ports_are_named() -> None:
    plan = PortPlan.at(0)
    assert all(port_is_free(port) for port in plan.fixed.values())
    with socket.socket() as other:
        other.bind(("127.0.0.1", plan.fixed["kafka"]))
        other.listen()
        assert plan.taken(plan.fixed) == {"kafka": plan.fixed["kafka"]}


def test_services_are_found_under_both_spellings() -> None:
    assert find("order_intake") is find("order-intake")
    assert [s.name for s in select(["shipping", "order_intake"])] == ["order-intake", "shipping"]
    assert select([]) == SERVICES
    with pytest.raises(LocalError, match="no service 'shop'"):
        select(["shop"])


def test_the_plan_gives_every_service_three_roles_and_scaled_ones_more(home: Home) -> None:
    plan = Plan(home, SERVICES, PortPlan.at(0), {"inventory": 2})
    specs = plan.processes(Substance("kafka:1", {s.name: f"postgresql://{s.name}" for s in SERVICES}))
    world = {"mail", "carriers"}  # what stands at the borders we do not own
    assert len(specs) == 7 * 3 + 2 + 1 + len(
        world
    )  # two copies of inventory, and a second standard worker of the tower
    assert world <= {spec.name for spec in specs}
    assert len({spec.port for spec in specs}) == len(specs)
    by_name = {spec.name: spec for spec in specs}
    nice = {name: spec.nice for name, spec in by_name.items()}
    way = ("shipping-api", "shipping-standard", "inventory-standard-1", "prioritizer-standard", "notifier-standard")
    assert 0 < nice[way[0]] < nice[way[1]] < nice[way[2]] < nice[way[3]] < nice[way[4]] < 20  # downstream first
    urgent = {name for name, spec in by_name.items() if spec.urgent}
    entrances = {"order-intake-api", "prioritizer-api"}
    assert urgent == {name for name in by_name if "-express" in name} | entrances
    assert {nice[name] for name in urgent} == {0}
    assert by_name["inventory-express-1"].env["EXPEDITE_SLOT"] == "1"
    assert by_name["inventory-express-1"].argv[1:] == ("-m", "inventory.main", "--role", "express")
    urls = json.loads(by_name["notifier-api"].env["EXPEDITE_URLS"])
    assert urls["control-tower"] == f"http://127.0.0.1:{plan.ports.fixed['control-tower']}"
    assert by_name["notifier-api"].env["DATABASE_URL"] == "postgresql://notifier"


@pytest.mark.parametrize("text", ["inventory", "inventory=0", "inventory=x", "shop=2", "inventory=99"])
def test_a_scale_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(LocalError):
        parse_scale([text])


def test_the_clock_opens_on_monday_morning_and_runs_fast(tmp_path: Path) -> None:
    clock = BusinessClock.load(tmp_path / "clock.json")
    opens = monday_morning(NOON)
    assert opens == datetime(2026, 3, 2, 9, tzinfo=UTC)
    clock.resume(600, NOON, opens)
    assert clock.business(NOON + timedelta(seconds=6)) == opens + timedelta(hours=1)


def test_a_fast_clock_stands_still_between_runs_and_does_not_reopen(tmp_path: Path) -> None:
    clock = BusinessClock.load(tmp_path / "clock.json")
    opens = monday_morning(NOON)
    clock.resume(600, NOON, opens)
    stopped = NOON + timedelta(seconds=6)
    assert clock.freeze(stopped) is not None
    assert clock.freeze(stopped) is None  # once is enough
    later = NOON + timedelta(days=3)
    again = BusinessClock.load(tmp_path / "clock.json")
    assert again.business(later) == opens + timedelta(hours=1)
    again.resume(60, later, opens)
    assert again.business(later + timedelta(seconds=60)) == opens + timedelta(hours=2)


def test_a_killed_fast_clock_stands_where_it_was_last_seen(tmp_path: Path) -> None:
    clock = BusinessClock.load(tmp_path / "clock.json")
    clock.resume(600, NOON, NOON)
    clock.touch(NOON + timedelta(seconds=10))
    again = BusinessClock.load(tmp_path / "clock.json")
    tomorrow = NOON + timedelta(days=1)
    again.resume(600, tomorrow)
    assert again.business(tomorrow) == NOON + timedelta(seconds=6000)


def test_a_clock_at_real_speed_keeps_its_promises_while_stopped(tmp_path: Path) -> None:
    clock = BusinessClock.load(tmp_path / "clock.json")
    clock.resume(1, NOON)
    assert clock.freeze(NOON + timedelta(hours=1)) is None
    clock.resume(1, NOON + timedelta(hours=5))
    assert clock.business(NOON + timedelta(hours=6)) == NOON + timedelta(hours=6)


def _state(pid: int, started: float, processes: list[state.ProcessState]) -> state.State:
    return state.State(supervisor_pid=pid, supervisor_started=started, phase="ready", processes=processes)


def test_the_state_file_is_private_and_round_trips(home: Home) -> None:
    written = _state(
        os.getpid(), warden.started_at(os.getpid()) or 0, [state.ProcessState("a", "b", "api", 0, "ready")]
    )
    state.save(home, written)
    assert stat.S_IMODE(home.state_file.stat().st_mode) == 0o600
    assert state.load(home) == written
    assert written.running


def test_a_home_is_held_once(home: Home) -> None:
    assert not state.is_held(home)
    with state.hold(home):
        assert state.is_held(home)
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
            state.hold(home)
    assert not state.is_held(home)
    state.hold(home).close()


def test_down_ends_what_a_killed_supervisor_left_and_spares_recycled_pids(home: Home) -> None:
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    processes = [
        state.ProcessState("x", "x", "api", 0, "ready", orphan.pid, warden.started_at(orphan.pid) or 0),
        # Our own pid with another start time: a recycled pid, not a leftover.
        state.ProcessState("y", "y", "api", 0, "ready", os.getpid(), 1.0),
    ]
    state.save(home, _state(2**22 + 1, 1.0, processes))
    assert "1 leftover processes ended" in down(home)
    assert orphan.wait(5) != 0
    assert state.load(home) is None
    assert down(home) == "nothing runs here"


def test_wipe_deletes_ours_and_nothing_else(home: Home) -> None:
    secrets.load_or_create(home, secrets.LOCAL_SPEC)
    (home.root / "mine.txt").write_text("not yours")
    wipe(home)
    assert [path.name for path in home.root.iterdir()] == ["mine.txt"]
    (home.root / "mine.txt").unlink()
    wipe(home)
    assert not home.root.exists()
