"""Packets lost by the kernel (nftables): what no proxy can do, because a proxy's own kernel acknowledges."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

import psutil

_PROBE = """
table inet {probe} {{
  chain c {{
    type filter hook output priority 0; policy accept;
    tcp dport 1 numgen random mod 100 < 5 drop
  }}
}}
"""
_CHAIN = "output"  # on the loopback every packet leaves and arrives: dropped once, where it leaves


def unavailable() -> str:
    """Why packets cannot be dropped on this machine; empty when they can."""
    program = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")
    if program is None:
        return "nft is not installed"
    probe = f"expedite_probe_{os.getpid()}"
    tried = subprocess.run(
        [program, "-f", "-"],
        input=_PROBE.format(probe=probe),
        text=True, check=False, capture_output=True,
    )  # fmt: skip
    if tried.returncode:
        return " ".join(tried.stderr.split())
    subprocess.run([program, "delete", "table", "inet", probe], check=True)
    return ""


class Packets:
    """Rules in a table of our own about ports of our own; `with Packets() as packets:` removes them at the end."""

    def __init__(self) -> None:
        self._program = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin") or "nft"
        self.table = f"expedite_chaos_{os.getpid()}_{id(self):x}"

    def __enter__(self) -> Packets:
        self._nft(f"add table inet {self.table}")
        self._nft(f"add chain inet {self.table} {_CHAIN} {{ type filter hook output priority 0; policy accept; }}")
        return self

    def __exit__(self, *_: object) -> None:
        self._nft(f"delete table inet {self.table}")

    def lose(self, port: int, percent: int) -> None:
        """This share of the packets to and from a server's port vanishes."""
        for side in ("dport", "sport"):
            self._rule(f"tcp {side} {port} numgen random mod 100 < {percent}")

    def drop(self, port: int, *sides: str) -> None:
        """Everything to (`dport`) and from (`sport`) a server's port vanishes; both when none is named."""
        for side in sides or ("dport", "sport"):
            self._rule(f"tcp {side} {port}")

    def drop_now(self, port: int) -> int:
        """Connections that clients have to a server's port at this moment go half-open: all their packets vanish. New ones are
        well. How many."""
        clients = sorted(_clients_of(port))
        if clients:
            ports = ", ".join(map(str, clients))
            self._rule(f"tcp dport {port} tcp sport {{ {ports} }}")
            self._rule(f"tcp sport {port} tcp dport {{ {ports} }}")
        return len(clients)

    def heal(self) -> int:
        """No packet is lost any more; how many were."""
        lost = self.lost
        self._nft(f"flush chain inet {self.table} {_CHAIN}")
        return lost

    @property
    def lost(self) -> int:
        """Packets dropped by the rules of now."""
        command = [self._program, "-j", "list", "table", "inet", self.table]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return sum(int(counter["packets"]) for counter in _counters(said["nftables"]))

    def _rule(self, match: str) -> None:
        self._nft(f"add rule inet {self.table} {_CHAIN} {match} counter drop")

    def _nft(self, command: str) -> None:
        done = subprocess.run([self._program, "-f", "-"], input=command, text=True, check=False, capture_output=True)
        if done.returncode:
            raise RuntimeError(f"nft {command}: {done.stderr.strip()}")


def _counters(entries: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for entry in entries:
        for expression in entry.get("rule", {}).get("expr", ()):
            if "counter" in expression:
                yield expression["counter"]


def _clients_of(port: int) -> set[int]:
    """Local ports of the connections to a server's port."""
    return {
        connection.laddr.port
        for connection in psutil.net_connections("tcp")
        if connection.raddr and connection.raddr.port == port and connection.status == psutil.CONN_ESTABLISHED
    }
