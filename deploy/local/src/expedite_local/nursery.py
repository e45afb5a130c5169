"""Processes born by fork: what every service imports is imported once, by one parent, and shared by all.

An interpreter that loads our libraries takes about a second of processor time and a hundred megabytes; two dozen of them at
every start are what a laptop feels. The nursery is a small parent without threads that has imported the libraries (never a
service) and forks a child per request, which then runs its module as `python -m` would. Children see the environment they
were given; their output goes to the pipe that came with the request.

It is only ever a shortcut: a variable of FIRST that is not the nursery's own (something wants to be there before our code), a
program that is no module of ours, or a nursery that died, and processes are started in the ordinary way.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from expedite_local import warden
from expedite_local.process import make_nice

SHARED = (
    "expedite_chassis.main",
    "expedite_messaging.postgres",
    "expedite_messaging.runtime",
    "uvicorn.protocols.http.httptools_impl",
)
"""What every service imports anyway."""
FIRST = frozenset({"PYTHONPATH", "LD_PRELOAD"})
"""Variables that name what must be there before our code."""
_LARGEST = 256 * 1024
ANSWER_S = 30.0
"""Who hears nothing of a child for so long does without the nursery; the child, should it come after all, is ended."""
LOST = -signal.SIGKILL
"""The status of a process whose end nobody saw."""


class Born:
    """A process of the nursery, with the face of `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader) -> None:
        self.pid, self.stdout = pid, stdout
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    def ended(self, code: int) -> None:
        """It is over."""
        self.returncode = code
        self._ended.set()

    async def wait(self) -> int:
        """Its exit status, negative for a signal."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode


class Nursery:
    """The supervisor's side: starts the parent on first use, asks it for children, hears of their ends."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._parent: asyncio.subprocess.Process | None = None
        self._children: dict[int, Born] = {}
        self._waiting: dict[int, asyncio.Future[int]] = {}  # by number of the request
        self._unwanted: set[int] = set()
        self._asked = 0
        self._asking = asyncio.Lock()
        self._listening: asyncio.Task[None] | None = None

    @staticmethod
    def serves(argv: Sequence[str], env: Mapping[str, str]) -> bool:
        """Whether a process can be born here: a module of this interpreter, and nothing comes before it that does not come
        before the nursery, which has our environment."""
        return tuple(argv[:2]) == (sys.executable, "-m") and not any(
            env.get(name, os.environ.get(name)) != os.environ.get(name) for name in FIRST
        )

    async def bear(self, argv: Sequence[str], env: Mapping[str, str], nice: int) -> Born | None:
        """A child that runs `argv`; None when there is no nursery (any more)."""
        async with self._asking:
            if self._parent is None:
                await self._begin()
            if self._socket is None:
                return None
            self._asked += 1
            answer = self._waiting[self._asked] = asyncio.get_running_loop().create_future()
            reading, writing = os.pipe()
            request = {"id": self._asked, "argv": list(argv[2:]), "env": dict(env), "nice": nice}
            try:
                await asyncio.to_thread(socket.send_fds, self._socket, [json.dumps(request).encode()], [writing])
                pid = await asyncio.wait_for(asyncio.shield(answer), ANSWER_S)
            except BaseException as error:
                os.close(reading)
                self._waiting.pop(self._asked, None)
                if answer.done() and not answer.exception():
                    self._end(answer.result())
                if isinstance(error, OSError | TimeoutError):
                    return None
                raise
            finally:
                os.close(writing)
            stdout = asyncio.StreamReader()
            await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(reading, "rb", buffering=0)
            )
            born = self._children.setdefault(pid, Born(pid, stdout))
            born.stdout = stdout
            if born.returncode is not None:
                del self._children[pid]
            return born

    async def _begin(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._parent = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", __name__, str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        warden.guard(self._parent.pid, warden.PROCESSES)
        ours.setblocking(False)
        self._socket = ours
        self._listening = asyncio.create_task(self._listen(ours), name="nursery")

    async def _listen(self, ours: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(ours, _LARGEST):
                said = json.loads(data)
                if "born" in said:
                    self._hear(said["id"], said["born"])
                elif said["pid"] in self._unwanted:
                    self._unwanted.discard(said["pid"])
                elif said["pid"] in self._children:
                    self._children.pop(said["pid"]).ended(said["code"])
                else:  # over before we heard that it began
                    early = self._children[said["pid"]] = Born(said["pid"], asyncio.StreamReader())
                    early.ended(said["code"])
        # The parent is gone; its children may well live, and nobody will tell us when they end.
        self._socket = None
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("the nursery has ended"))
        await asyncio.gather(*(self._outlive(born) for born in self._children.values()))

    def _hear(self, request: int, pid: int) -> None:
        answer = self._waiting.pop(request, None)
        if answer is None:
            self._end(pid)
        else:
            answer.set_result(pid)

    def _end(self, pid: int) -> None:
        """End a child nobody waits for any more: what it was to do runs elsewhere by now."""
        if self._children.pop(pid, None) is None:
            self._unwanted.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def _outlive(self, born: Born) -> None:
        started = warden.started_at(born.pid)
        while started is not None and warden.is_alive(born.pid, started):  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0.5)
        born.ended(LOST)

    async def close(self) -> None:
        """End the parent; its children are the supervisor's to end before."""
        if self._listening is not None:
            self._listening.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._parent is not None:
            try:
                await asyncio.wait_for(self._parent.wait(), 5.0)
            except TimeoutError:
                self._parent.kill()
                await self._parent.wait()
            warden.release(self._parent.pid)
            self._parent = None


# --- the nursery itself -----------------------------------------------------------------------------------------


def _serve(theirs: socket.socket) -> None:
    """Fork a child per request and report every end, until the supervisor closes its side."""
    waking, woken = os.pipe()
    for end in (waking, woken):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([theirs, waking], [], [])
        if waking in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(waking, 4096)
            _report(theirs)
        if theirs in ready:
            data, ancillary, _, _ = theirs.recvmsg(_LARGEST, socket.CMSG_SPACE(array.array("i").itemsize))
            if not data:
                return
            (output,) = array.array("i", ancillary[0][2])
            pid = os.fork()
            if pid == 0:
                for descriptor in (theirs.fileno(), waking, woken):
                    os.close(descriptor)
                _live(json.loads(data), output)
            os.close(output)
            try:
                theirs.send(json.dumps({"born": pid, "id": json.loads(data)["id"]}).encode())
            except OSError:  # the supervisor has gone, and nobody else knows of this child
                os.kill(pid, signal.SIGKILL)
                raise


def _report(theirs: socket.socket) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            theirs.send(json.dumps({"pid": pid, "code": os.waitstatus_to_exitcode(status)}).encode())


def _live(request: dict[str, Any], output: int) -> None:
    """Become the child: never returns."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if output > 2:
            os.close(output)
        if request["nice"]:
            make_nice(os.getpid(), os.getpriority(os.PRIO_PROCESS, 0) + request["nice"])
        os.environ.update(request["env"])
        module, *arguments = request["argv"]
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(end.code + "\n")
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code & 0xFF)


def main() -> None:
    """Import what is shared, then serve."""
    import gc
    from importlib import import_module

    try:
        for name in SHARED:
            import_module(name)
    except Exception as error:  # whoever needs it will say the same, with all its frames
        sys.exit(f"every process starts by itself: {type(error).__name__}: {error}")
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError):  # the supervisor went without a word
        _serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
