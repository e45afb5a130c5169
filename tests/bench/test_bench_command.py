"""The `bench` command and what it says, without a server."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from expedite_bench import clones, report, shots
from expedite_bench.bench import Bench, Goal, flat, look_up, medians
from expedite_bench.catalogue import BENCHES
from expedite_bench.clones import Template
from expedite_bench.command import Options, run
from expedite_bench.measure import quantiles
from expedite_bench.orders import body_of, order
from typer.testing import CliRunner

from expedite_local.cli import app
from expedite_local.errors import LocalError

ISSUE = {"saga", "express", "overtake", "intake", "hot-sku", "growth", "timers", "webhooks", "footprint"}


def test_without_a_name_every_bench_is_listed_with_what_it_must_reach() -> None:
    said = CliRunner().invoke(app, ["bench"])
    assert said.exit_code == 0
    assert set(BENCHES) == ISSUE | {"scale"}
    for bench in BENCHES.values():
        assert bench.name in said.output
        assert bench.measures in said.output
        assert all(str(goal) in said.output for goal in bench.goals)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(name="sage"), "there is no bench 'sage'; there are saga, express"),
        (Options(name="timers", orders=50), "timers takes no --orders"),
        (Options(name="saga", json_file=Path("/")), "--json takes a file"),
        (
            Options(name="saga", profile=("inventory-standard", "carriers")),
            "no process 'carriers' to profile; there are order",
        ),
        (Options(name="saga", profile=("inventory-standard-x",)), "no process 'inventory-standard-x'"),
        (Options(name="intake", scale=("notifier", (1, 2))), "intake runs order-intake, .*; --scale takes one of them"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_choices(options: Options, said: str) -> None:
    with pytest.raises(LocalError, match=said):
        run(options)


@pytest.mark.parametrize("words", [["saga", "--runs", "0"], ["saga", "--fast"], ["saga", "--orders", "many"]])
def test_bad_options_end_with_a_usage_error(words: list[str]) -> None:
    assert CliRunner().invoke(app, ["bench", *words]).exit_code == 2


def test_the_median_of_runs_keeps_the_shape_and_leaves_out_what_is_no_figure() -> None:
    runs = [
        {"rate": 3, "seconds": {"a": 1.0}, "note": "x"},
        {"rate": 1, "seconds": {"a": 9.0, "b": 2.0}, "note": "y"},
        {"rate": 2, "seconds": {"a": 2.0}, "note": "z"},
    ]
    assert medians(runs) == {"rate": 2, "seconds": {"a": 2.0}}


def test_goals_are_reached_missed_or_not_measured() -> None:
    figures = {"rate": 700, "ms": {"p99": 300}}
    assert Goal("rate", ">=", 500).reached(figures) is True
    assert Goal("ms.p99", "<=", 250, "ms").reached(figures) is False
    assert Goal("peers.times", ">=", 4).reached(figures) is None


def test_the_document_holds_figures_machine_versions_and_goals(tmp_path: Path) -> None:
    bench = BENCHES["intake"]
    figures = {"single": {"per_s": 900.0, "ms": {"p99": 80.0}}, "bulk": {"per_s": 3000.0}}
    found = report.document(bench, dict(bench.quick), {"cores": 2}, figures, [figures], "a label")
    report.write(tmp_path / "new" / "intake.json", found)
    read = json.loads((tmp_path / "new" / "intake.json").read_text())
    assert [goal["reached"] for goal in read["goals"]] == [True, True, False]
    assert read["machine"] == {"cores": 2}
    assert read["versions"]["python"]
    assert "bulk.per_s" in report.table(bench, figures, [figures])


def test_figures_of_a_shared_machine_carry_a_warning() -> None:
    assert report.noise([{"cpu": {"cores_used_by_others": 0.05}}]) is None
    assert "0.9 cores" in (report.noise([{"cpu": {"cores_used_by_others": 0.9}}]) or "")


def test_every_goal_names_a_figure_of_its_bench() -> None:
    # What `scale` must reach is a clean audit, as all must.
    assert all(isinstance(bench, Bench) and (bench.goals or bench.scales) and bench.quick.keys() == bench.full.keys() for bench in BENCHES.values())  # fmt: skip


def test_orders_are_the_same_in_every_run() -> None:
    skus = [f"S{n}" for n in range(50)]
    orders = [order(f"a-{n}", skus, urgent=n == 0) for n in range(20)]
    random.seed("anything else")
    assert body_of(orders) == body_of([order(f"a-{n}", skus, urgent=n == 0) for n in range(20)])
    assert len({o["customer"]["email"] for o in orders}) == 20


def test_prepared_requests_are_read_as_they_were_written(tmp_path: Path) -> None:
    requests = [b"GET / HTTP/1.1\r\n\r\n", b"", b"x" * 100_000]
    assert shots.write(tmp_path / "r.bin", iter(requests)) == 3
    assert shots.read(tmp_path / "r.bin") == requests


def test_quantiles_are_milliseconds() -> None:
    assert quantiles([0.001] * 99 + [0.5]) == {"n": 100, "p50": 1.0, "p90": 1.0, "p99": 500.0, "max": 500.0}
    assert quantiles([]) == {"n": 0}


def test_flat_figures_are_found_again_by_their_path() -> None:
    figures = {"a": 1, "b": {"c": 2, "d": {"e": 3}}}
    assert {path: look_up(figures, path) for path, _ in flat(figures)} == {"a": 1, "b.c": 2, "b.d.e": 3}
    assert look_up(figures, "b.x.e") is None


def test_copies_name_the_new_order_wherever_a_text_named_the_old() -> None:
    template = Template("20261122-EC-000007", "t1-0", ())
    found = template.new_text("s.x", {"2026-11-22T": "2026-11-15T"})
    assert found.startswith("replace(replace(replace(s.x, '20261122-EC-000007'")
    assert clones.MARK in found


@pytest.mark.parametrize("text", ["inventory", "inventory=", "inventory=1,,2", "inventory=0", "shop=1"])
def test_a_scale_that_makes_no_sense_is_refused(text: str) -> None:
    said = CliRunner().invoke(app, ["bench", "scale", "--scale", text])
    assert isinstance(said.exception, LocalError)
