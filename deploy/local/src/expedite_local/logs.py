"""Output of processes: a rotating file each, and coloured prefixed lines on the terminal."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

LIMIT_BYTES = 10 * 1024 * 1024
KEPT = 3
LONGEST_LINE = 64 * 1024
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class RotatingFile:
    """A log file of at most `limit` bytes; older parts are kept as `.1` (newest) to `.<kept>`."""

    def __init__(self, path: Path, limit: int = LIMIT_BYTES, kept: int = KEPT) -> None:
        """Open for appending, making the folder if need be."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.limit, self.kept = path, limit, kept
        self._stream = self._open()

    def _open(self) -> io.FileIO:
        return io.FileIO(self.path, "ab")

    def write(self, line: bytes) -> None:
        """Append one line (with its end); rotates first when the file is full."""
        if self._stream.tell() + len(line) > self.limit and self._stream.tell() > 0:
            self._stream.close()
            for number in range(self.kept - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    self._numbered(number).replace(self._numbered(number + 1))
            self.path.replace(self._numbered(1))
            self._stream = self._open()
        self._stream.write(line)

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class Lines:
    """Cuts a byte stream into lines; a longer one than LONGEST_LINE is passed on in parts."""

    def __init__(self, emit: Callable[[bytes], None]) -> None:
        """`emit` gets each line without its end."""
        self._emit = emit
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(line.rstrip(b"\r"))
        while len(self._rest) > LONGEST_LINE:
            self._emit(self._rest[:LONGEST_LINE])
            self._rest = self._rest[LONGEST_LINE:]

    def end(self) -> None:
        """Emit what is left of the last line."""
        if self._rest:
            self._emit(self._rest)
            self._rest = b""


def prefix(name: str, width: int, colour: bool) -> str:
    """`name | ` padded to `width`, in a colour that is always the same for this name."""
    text = f"{name:<{width}} | "
    if not colour:
        return text
    code = _COLOURS[sum(name.encode()) % len(_COLOURS)]
    return f"\x1b[{code}m{text}\x1b[0m"


def wants_colour(stream: TextIO) -> bool:
    """True for a terminal whose user has not said otherwise (NO_COLOR)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a log file; empty when there is none."""
    from expedite_local.process import tail

    return tail(path, count).splitlines()


def follow(paths: list[Path], pause: float = 0.2) -> Iterator[tuple[Path, str]]:
    """New lines of several growing log files from this call on, for ever; survives rotation.

    pause: seconds to wait when nothing is new.
    """
    streams: dict[Path, TextIO] = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            streams[path] = path.open(encoding="utf-8", errors="replace")
            streams[path].seek(0, os.SEEK_END)
    return _new_lines(paths, streams, pause)


def _new_lines(paths: list[Path], streams: dict[Path, TextIO], pause: float) -> Iterator[tuple[Path, str]]:
    rest = dict.fromkeys(paths, "")
    try:
        while True:
            quiet = True
            for path in paths:
                stream = streams.get(path)
                text = stream.read() if stream else ""
                if text:
                    quiet = False
                    *lines, rest[path] = (rest[path] + text).split("\n")
                    for line in lines:
                        yield path, line
                    continue
                with contextlib.suppress(FileNotFoundError):
                    # Read to its end and no longer the file of this name: rotated.
                    if stream is None or path.stat().st_ino != os.fstat(stream.fileno()).st_ino:
                        if stream:
                            stream.close()
                        streams[path] = path.open(encoding="utf-8", errors="replace")
                        quiet = False
            if quiet:
                time.sleep(pause)
    finally:
        for stream in streams.values():
            stream.close()


class Terminal:
    """Where lines of processes are shown while the system runs in the foreground; silent until `live`."""

    def __init__(self, width: int, stream: TextIO | None = None) -> None:
        """`width`: of the longest process name."""
        self.width = width
        self.stream = stream or sys.stdout
        self.colour = wants_colour(self.stream)
        self.live = False

    def show(self, name: str, line: str) -> None:
        """Show one line of a process."""
        if self.live:
            with contextlib.suppress(OSError):  # a closed terminal must not take the system down
                self.stream.write(f"{prefix(name, self.width, self.colour)}{line}\n")
                self.stream.flush()
