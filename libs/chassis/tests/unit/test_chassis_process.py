"""Real processes on real sockets: serving, limits against hand-made requests, and a graceful end (I1, I3, I5)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

PROGRAM = Path(__file__).with_name("chassis_process_app.py")


class Process:
    """A started program whose output is read line by line."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.child = subprocess.Popen(
            [sys.executable, str(PROGRAM), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Not the home of a checkout in which `make demo` ran: it has secrets.
            env={"PATH": os.environ.get("PATH", ""), "EXPEDITE_HOME": str(PROGRAM.parent), **environment},
        )
        self.lines: list[str] = []

    def until(self, text: str) -> str:
        """Read lines until one holds the text."""
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.lines.append(line.strip())
            if text in line:
                return line
        raise AssertionError(f"{text!r} never came: {self.lines} {self.child.stderr and self.child.stderr.read()}")

    def end(self) -> int:
        """Wait for the end, reading the rest; the exit code."""
        rest, self.errors = self.child.communicate(timeout=120)
        self.lines += rest.splitlines()
        return self.child.returncode


@contextmanager
def running(mode: str, port: int = 0) -> Iterator[tuple[Process, int]]:
    process = Process(mode, str(port))
    try:
        started: dict[str, Any] = json.loads(process.until('"started"'))
        yield process, started["port"]
    finally:
        process.child.kill()
        process.child.wait()


def talk(port: int, request: bytes) -> bytes:
    """Send bytes as they are, and read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as wire:
        wire.sendall(request)
        answer = b""
        while chunk := wire.recv(65536):
            answer += chunk
        return answer


def test_it_serves_refuses_and_ends() -> None:
    """I3, I5: a real server answers; lying lengths meet the limit; SIGTERM lets open requests finish, exit code 0."""
    with running("api") as (process, port):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as http:
            answer = http.get("/readyz", headers={"X-Request-Id": "from-the-test"})
            assert (answer.status_code, answer.headers["x-request-id"]) == (200, "from-the-test")
            assert "server" not in answer.headers
            assert http.post("/echo", content=b"x" * 1000).json() == 1000
            assert http.post("/echo", content=b"x" * 1001).status_code == 413
            assert http.post("/echo", content=iter([b"x" * 600, b"x" * 600])).status_code == 413
        chunked = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert b" 413 " in talk(port, chunked + (b"258\r\n" + b"x" * 600 + b"\r\n") * 3)
        huge = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
        assert b" 413 " in talk(port, huge)
        both = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n"
        assert b" 200 " not in talk(port, both)
        assert b" 400 " in talk(port, b"\x16\x03\x01 not http\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port), timeout=120) as wire:
            wire.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            process.until("slow began")
            process.child.send_signal(signal.SIGTERM)
            answer_bytes = b"".join(iter(lambda: wire.recv(4096), b""))
        assert answer_bytes.startswith(b"HTTP/1.1 200") and answer_bytes.endswith(b'"done"')
        assert process.end() == 0
        assert process.lines[-1] == "ended"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_finishes_its_batch_first(number: signal.Signals) -> None:
    """I1: stopping a worker loses nothing: it is asked, it finishes, then its health port closes."""
    with running("worker") as (process, port):
        answer = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=120)
        assert answer.json()["checks"]["worker"] is True
        assert httpx.post(f"http://127.0.0.1:{port}/echo", content=b"x").status_code == 404
        process.child.send_signal(number)
        assert process.end() == 0
        said = [line for line in process.lines if line.startswith(("worker", "ended"))]
        assert said == ["worker asked to stop", "worker finished its batch", "ended"]


def test_a_worker_that_hangs_is_given_up() -> None:
    """I1: a stop always ends; what was not finished is delivered again."""
    with running("hangs") as (process, _):
        process.child.send_signal(signal.SIGTERM)
        assert process.end() == 0
        assert any("did not finish in time" in line for line in process.lines)


def test_a_worker_that_dies_ends_the_process() -> None:
    """I1: whoever supervises the process sees a failure and starts it again."""
    process = Process("dies", "0")
    assert process.end() == 1
    assert "the consumer broke" in process.errors


def test_a_taken_port_is_one_clear_line() -> None:
    """I2: the line names the port and the remedy."""
    with running("api") as (_, port):
        process = Process("api", str(port))
        assert process.end() == 1
        assert f"cannot listen on 127.0.0.1:{port}" in process.errors.splitlines()[-1]
        assert "set PORT" in process.errors.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (["--role", "api"], {}, 78, "DATABASE_URL is not set"),
        (["--role", "api"], {"DATABASE_URL": "postgresql://u:hidden@h/d"}, 78, "no secrets file"),
        (["--role", "api"], {"DATABASE_URL": "postgresql://u:hidden@h/d", "PORT": "many"}, 78, "PORT"),
        (["--role", "api"], {"EXPEDITE_URLS": "{broken"}, 78, "urls"),
        (["--role", "cook"], {}, 2, "invalid choice"),
        ([], {}, 2, "--role"),
    ],
)
def test_an_unusable_environment_is_named(
    arguments: list[str], environment: dict[str, str], code: int, said: str
) -> None:
    """I2, I5: what is wrong is named in one line, with no password in it, and exit code 78 says that trying again is
    useless."""
    process = Process("run", *arguments, **environment)
    assert process.end() == code
    assert said in process.errors
    assert "hidden" not in process.errors and "Traceback" not in process.errors


def trickle(port: int, first: bytes, drop: bytes, every_s: float = 0.1) -> tuple[bytes, float]:
    """Send `first`, then `drop` again and again until the server closes; what it said and after how many real seconds."""
    began, answer = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", port), timeout=every_s) as wire:
        wire.sendall(first)
        while time.monotonic() - began < 60:
            try:
                while chunk := wire.recv(65536):
                    answer += chunk
                break
            except TimeoutError:
                if drop:
                    wire.sendall(drop)
            except ConnectionError:
                break
    return answer, time.monotonic() - began


def test_a_client_that_takes_its_time_is_let_go() -> None:
    """I5 (slow bodies): headers that never end, a body that trickles, silence, a second request that never begins: each ends
    soon after its time; who is quick is served meanwhile and afterwards."""
    with running("hasty") as (_, port):
        head = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
        for first, drop, status in (
            (head, b"X-A: b\r\n", b" 408 "), (b"P", b"", b" 408 "), (b"", b"", b""), (b"\r\n", b"\r\n", b""),
            (head + b"Content-Length: 900\r\n\r\n", b"x", b" 408 "),
            (head + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", b" 408 "),
            (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\n", b"X-A: b\r\n", b" 408 "),
        ):  # fmt: skip
            answer, took = trickle(port, first, drop)
            assert 0.3 < took < 30, (first, took)
            assert status in answer, (first, answer)
            if b" 408 " in answer:
                assert b"/problems/too-slow" in answer and b"application/problem+json" in answer
        assert httpx.post(f"http://127.0.0.1:{port}/echo", content=b"x" * 1000, timeout=60).json() == 1000


def test_headers_without_end_are_not_collected() -> None:
    """I5 (many headers): before the app could refuse them, the connection is cut."""
    with running("api") as (_, port), socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        wire.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
        with pytest.raises(ConnectionError):
            for number in range(10_000):
                wire.sendall(b"X-%d: " % number + b"y" * 8000 + b"\r\n")
