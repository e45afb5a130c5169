"""Alerts name figures that exist and pages that help; pages name commands, routes and log lines that exist (issue 5.4)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import typer.main
import yaml
from prometheus_client import REGISTRY

from expedite_chassis import testing
from expedite_chassis.metrics import Metrics
from expedite_local.audit.watch import Figures
from expedite_local.cli import app
from expedite_messaging import metrics as messaging_metrics
from expedite_messaging.memory import MemoryClock, MemoryEngine

HOUSE = Path(__file__).parents[2]
RUNBOOK = HOUSE / "docs" / "runbook"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((HOUSE / "deploy/alerts/expedite.rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
PAGES = sorted(page for page in RUNBOOK.glob("*.md") if page.name != "README.md")
TARGET = {"job", "instance"}  # what Prometheus itself puts on everything it scrapes
SERVICES = ("order_intake", "prioritizer", "inventory", "fulfillment", "shipping", "notifier", "control_tower")


def exported() -> dict[str, set[str]]:
    """Every sample a process or the watch exports, with its labels."""
    assert messaging_metrics.KEYS_PARKED
    found: dict[str, set[str]] = {"up": set()}
    for registry in (Metrics("inventory").registry, Figures().registry, REGISTRY):
        for collector in list(registry._collector_to_names):
            labels = set(getattr(collector, "_labelnames", ()))
            for family in collector.describe() if hasattr(collector, "describe") else collector.collect():
                endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
                for ending in endings:
                    found[family.name + ending] = labels | ({"le"} if ending == "_bucket" else set())
        for family in registry.collect():
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def selectors(node: Any) -> Iterator[Any]:
    """Every series an expression reads."""
    if isinstance(node, promql.VectorSelector):
        yield node
    elif isinstance(node, promql.MatrixSelector):
        yield node.vector_selector
    for name in ("lhs", "rhs", "expr"):
        if (child := getattr(node, name, None)) is not None and not isinstance(child, str):
            yield from selectors(child)
    for child in getattr(node, "args", None) or ():
        yield from selectors(child)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_reads_figures_that_are_exported_and_has_a_page(rule: dict[str, Any]) -> None:
    """A renamed metric or label would silence an alert for ever."""
    known = exported()
    read = list(selectors(promql.parse(rule["expr"])))
    assert read, rule["expr"]
    for selector in read:
        assert selector.name in known, f"nobody exports {selector.name}"
        for matcher in selector.matchers.matchers:
            assert matcher.name in known[selector.name] | TARGET, f"{selector.name} has no label {matcher.name}"
    page = HOUSE / rule["annotations"]["runbook"]
    assert f"`{rule['alert']}`" in page.read_text(), "the page says what is seen"
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]


def test_a_rule_about_something_else_would_be_noticed() -> None:
    """Seen red: an unknown figure and an unknown label."""
    known = exported()
    (unknown,) = selectors(promql.parse("rate(expedite_events_lost_total[5m])"))
    assert unknown.name not in known
    (labelled,) = selectors(promql.parse('expedite_parked_keys{lane="express"}'))
    assert labelled.matchers.matchers[0].name not in known[labelled.name]


def test_alerts_and_pages_know_each_other() -> None:
    """No two alerts of one name; every page is in the index, every alert beside its page."""
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    index = (RUNBOOK / "README.md").read_text()
    for page in PAGES:
        (line,) = [line for line in index.split("\n") if f"]({page.name})" in line]
        mine = {rule["alert"] for rule in RULES if rule["annotations"]["runbook"].endswith(f"/{page.name}")}
        assert set(re.findall(r"`(\w+)`", line)) == mine, page.name


@pytest.mark.parametrize("sheet", [*PAGES, RUNBOOK / "README.md"], ids=lambda sheet: sheet.stem)
def test_every_page_has_its_parts_and_its_links_lead_somewhere(sheet: Path) -> None:
    """What is seen, what it means, what to do, how to know that it is over."""
    text = sheet.read_text()
    if sheet.name != "README.md":
        assert [part for part in ("**Seen.**", "**Means.**", "**Do.**", "**Over when.**") if part not in text] == []
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (sheet.parent / link).exists(), link


def commands(text: str) -> list[str]:
    inline = re.findall(r"`(?:uv run )?(expedite [^`\n]+)`", text)
    return inline + re.findall(r"^(?:uv run )?(expedite [^\n]+)$", text, re.MULTILINE)


@pytest.mark.parametrize("sheet", [*PAGES, HOUSE / "docs" / "howto.md"], ids=lambda sheet: sheet.stem)
def test_every_command_of_a_page_is_one(sheet: Path) -> None:
    """Each `expedite ...` parses: command, arguments and options exist."""
    top = typer.main.get_command(app)
    for command in commands(sheet.read_text()):
        words = shlex.split(command.split("|")[0], comments=True)[1:]
        group, arguments = top, words
        while hasattr(group, "commands"):
            assert arguments, command
            assert arguments[0] in group.commands, command
            group, arguments = group.commands[arguments[0]], arguments[1:]
        group.make_context(words[0], list(arguments), resilient_parsing=False)


def test_every_route_of_a_page_exists() -> None:
    """`GET /messages/queue` and the like are routes of a service."""
    routes = set()
    for name in SERVICES:
        spec = import_module(f"{name}.main").spec
        described = testing.app(spec, MemoryEngine(spec.handlers, MemoryClock())).openapi()["paths"]
        for path, methods in described.items():
            routes |= {(method.upper(), re.sub(r"\{[^}]+\}", "ID", path)) for method in methods}
    for page in PAGES:
        for method, path in re.findall(r"`(GET|POST|PUT|DELETE) (/[^`?]+)", page.read_text()):
            assert (method, path) in routes, f"{page.name}: {method} {path}"


def test_every_log_line_of_a_page_is_written() -> None:
    """Words a page tells people to look for are in the code that logs them."""
    code = "\n".join(path.read_text() for path in (HOUSE / "libs").glob("*/src/**/*.py"))
    for words in ("consumer broke", "consumer stopped: too many events cannot be decided", "event refused by the broker",
                  "effect to be tried again", "the process failed", "is in use by another process"):  # fmt: skip
        assert words in code
        assert any(words in page.read_text() for page in PAGES), words
