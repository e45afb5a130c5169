"""Schemathesis against our running services: its configuration, its command line, what came of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "missing_required_header", "ignored_auth",
    "unsupported_method", "allow_header_conformance", "ensure_resource_availability", "use_after_free",
    "problem_details", "answers_are_shielded", "strangers_are_kept_out",
)  # fmt: skip
KNOWN = 0.5
"""How often a parameter is one of the ids that exist, else whatever Schemathesis draws."""


@dataclass(frozen=True)
class Volume:
    """How much is tried: examples per operation and phase, the phases, and the steps of a chain."""

    examples: int
    phases: Sequence[str]
    steps: int = 6

    @classmethod
    def of(cls, *, long: bool) -> Volume:
        """The short form for every test run, or the long one; EXPEDITE_FUZZ_EXAMPLES changes the number."""
        examples = int(os.environ.get("EXPEDITE_FUZZ_EXAMPLES", "150" if long else "3"))
        return cls(examples, ("examples", "coverage", "fuzzing", "stateful"), steps=12 if long else 5)


@dataclass(frozen=True)
class Outcome:
    """What a run printed, and what it counted."""

    code: int
    text: str
    report: Mapping[str, object]

    @property
    def summary(self) -> str:
        """The end of what was printed: phases, failures, cases, seed."""
        return self.text[self.text.rfind("SUMMARY") - 40 :] if "SUMMARY" in self.text else self.text


def fuzz(
    folder: Path,
    url: str,
    *,
    key: str | None,
    ids: Mapping[str, Sequence[str]],
    volume: Volume,
    checks: Sequence[str] = CHECKS,
    foreign: bool = False,
    headers: Mapping[str, str] | None = None,
    secrets: Path | None = None,
) -> Outcome:
    """Run Schemathesis against one service until its volume is tried. `ids`: values that exist, by parameter (`path.sku`,
    `body.by`). Without a key the run is a stranger's. `secrets`: the file with the secrets that webhooks are signed with.
    Everything a person needs to repeat a case is in the text."""
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "schemathesis.toml"
    configuration.write_text(_configuration(folder, key, ids, volume, checks, headers or {}))
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "EXPEDITE_FUZZ_STRANGER": str(int(key is None)),
        "EXPEDITE_FUZZ_FOREIGN": str(int(foreign)),
        **({"EXPEDITE_FUZZ_SECRETS": str(secrets)} if secrets else {}),
    }
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration), "run"]
    done = subprocess.run(
        [*command, f"{url}/openapi.json", "--url", url, "--no-color"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    report = folder / "report.json"
    return Outcome(
        done.returncode, done.stdout + done.stderr, json.loads(report.read_text()) if report.exists() else {}
    )


def _configuration(
    folder: Path,
    key: str | None,
    ids: Mapping[str, Sequence[str]],
    volume: Volume,
    checks: Sequence[str],
    headers: Mapping[str, str],
) -> str:
    """The configuration file of one run."""
    lines = [
        f"seed = {int(os.environ.get('EXPEDITE_FUZZ_SEED', '1'))}",
        'hooks = "expedite_fuzz.hooks"',
        "max-stream-events = 1",
        "request-timeout = 30.0",
        "continue-on-failure = true",
        f"headers = {{ {', '.join(f'{_text(n)} = {_text(v)}' for n, v in headers.items())} }}" if headers else "",
        "[generation]",
        'mode = "all"',
        "allow-x00 = true",
        'database = "none"',
        f"max-examples = {volume.examples}",
        "no-shrink = true",
        "[reports.json]",
        f"path = {_text(str(folder / 'report.json'))}",
        "[phases]",
        *(f"{phase}.enabled = {str(phase in volume.phases).lower()}"
          for phase in ("examples", "coverage", "fuzzing", "stateful")),
        f"stateful.max-steps = {volume.steps}",
        "[checks]",
        "enabled = false",
        *(f"{check}.enabled = true" for check in checks),
    ]  # fmt: skip
    if key is not None:
        lines += ["[auth.openapi]", f"bearer = {{ bearer = {_text(key)} }}"]
    known = {name: values for name, values in ids.items() if values}
    for name, values in known.items():
        lines += [f"[dictionaries.{_name(name)}]", f"values = [{', '.join(map(_text, values))}]"]
    # Whatever a sender signed is kept and answered with 2xx, wrong or not: it might never come again. In bulk each line has
    # its own verdict in an answer of 200.
    tolerant = 'include-path-regex = "^/(webhooks/|orders/bulk$)"'
    lines += ["[[operations]]", tolerant, "checks.negative_data_rejection.enabled = false"]
    lines += ["[parameters]"]
    lines += [f"{_text(name)} = {{ dictionary = {_text(_name(name))}, probability = {KNOWN} }}" for name in known]
    return "\n".join(lines) + "\n"


def _name(parameter: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", parameter.lower())


def _text(value: str) -> str:
    return json.dumps(value)  # a JSON string is a TOML string
