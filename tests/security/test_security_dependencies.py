"""What is installed by default (checklist: `pip-audit`, hash-pinned lock file, no pickle, `yaml.load` or `eval`)."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tools import audit_dependencies as audit

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "audit_dependencies.py"


@contextmanager
def osv(vulnerable: str) -> Iterator[tuple[str, list[str]]]:
    """A vulnerability service that knows one bad package; its URL, and what it was asked about."""
    asked: list[str] = []

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            name = body["package"]["name"].lower()
            asked.append(name)
            found: dict[str, Any] = {}
            if name == vulnerable:
                affected = {"package": {"name": name, "ecosystem": "PyPI"},
                            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9999"}]}]}  # fmt: skip
                found = {"vulns": [{"id": "PYSEC-2026-7", "details": "bad", "affected": [affected]}]}
            answer = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


def test_a_known_vulnerability_is_found_and_named(capsys: Any) -> None:
    """I5 (dependency audit in CI): the service is asked about every package of the default install; a vulnerable one is a
    problem, and it is named with the version that mends it."""
    with osv("fastapi") as (url, asked):
        found = list(audit.vulnerabilities(url, ["osv"]))
    assert len(found) == 1 and found[0].startswith("fastapi ") and "PYSEC-2026-7" in found[0] and "9999" in found[0]
    wanted = {name.replace("_", "-") for name in audit.names_of(audit.requirements())}
    assert len(asked) > 50 and wanted - set(asked) <= {"colorama"}  # for another platform
    assert f"{len(asked)} packages looked up at osv" in capsys.readouterr().out


def test_a_service_that_is_away_is_said_loudly(capsys: Any) -> None:
    """I5 (dependency audit in CI): nothing looked up is never told as nothing found."""
    assert list(audit.vulnerabilities("http://127.0.0.1:9", ["osv"])) == []
    assert "NOT AUDITED" in capsys.readouterr().out


def test_every_file_of_the_lock_is_pinned_by_its_hash() -> None:
    """I5 (hash-pinned lock file): all of them, from a registry; one without is found."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    assert list(audit.without_hash(lock)) == []
    for package in lock["package"]:
        if package.get("wheels"):
            package["wheels"][0].pop("hash")
            break
    lock["package"].append({"name": "evil", "version": "1", "source": {"git": "https://evil.example/x"}})
    assert len(list(audit.without_hash(lock))) == 2


def test_licences_are_permissive(capsys: Any) -> None:
    """I5: of everything in the default install, by its own metadata; exceptions are named with their reason. Another licence
    is found."""
    assert list(audit.forbidden(audit.names_of(audit.requirements()))) == []
    assert int(capsys.readouterr().out.split("licences: ")[1].split()[0]) > 50
    assert not audit.PERMISSIVE.search("GNU Affero General Public License v3") and not audit.PERMISSIVE.search(
        "LGPL-3.0-only"
    )


def test_the_tool_says_how_it_ended() -> None:
    """I5 (dependency audit in CI): exit status 1 when something is wrong."""
    with osv("httpx") as (url, _):
        done = subprocess.run(
            [sys.executable, TOOL, "--osv-url", url], check=False, capture_output=True, text=True, cwd=ROOT
        )
    assert done.returncode == 1 and "vulnerable: httpx" in done.stdout, done.stdout + done.stderr


DANGEROUS = {"eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "marshal.loads", "shelve.open",
             "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen", "tempfile.mktemp"}  # fmt: skip


def test_nothing_runs_what_it_reads() -> None:
    """I5 (no pickle, `yaml.load` or `eval`): nor shells, nor certificates unchecked, anywhere in the product."""
    found = []
    for path in [
        *ROOT.glob("libs/*/src/**/*.py"),
        *ROOT.glob("services/*/src/**/*.py"),
        *ROOT.glob("deploy/local/src/**/*.py"),
    ]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                unsafe = {k.arg for k in node.keywords if k.arg == "shell" and ast.unparse(k.value) != "False"}
                unsafe |= {k.arg for k in node.keywords if k.arg == "verify" and ast.unparse(k.value) == "False"}
                if name in DANGEROUS or unsafe:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {name}")
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                if names & {"pickle", "marshal", "shelve", "dill"}:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: import")
    assert found == []
