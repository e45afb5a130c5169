"""A process to supervise: serves /livez and /readyz on $PORT, and behaves badly when told to.

Arguments: --ready-after S, --crash-after S, --crash-until FILE (exit 1 until FILE exists), --stubborn (ignores
SIGTERM), --journal FILE (appends "start", "ready" and "stop" lines with its name), --name NAME.
"""

import argparse
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--name", default="dummy")
parser.add_argument("--role", default="")
parser.add_argument("--ready-after", type=float, default=0.0)
parser.add_argument("--crash-after", type=float, default=0.0)
parser.add_argument("--crash-until", type=Path)
parser.add_argument("--deaf-after", type=float, default=0.0)
parser.add_argument("--stubborn", action="store_true")
parser.add_argument("--journal", type=Path)
options = parser.parse_args()
began = time.monotonic()


def note(what: str) -> None:
    if options.journal:
        with options.journal.open("a") as stream:
            stream.write(f"{what} {options.name}\n")


class Handler(BaseHTTPRequestHandler):
    announced = False

    def do_GET(self) -> None:
        age = time.monotonic() - began
        good = age >= options.ready_after and not (options.deaf_after and age > options.deaf_after)
        if good and not Handler.announced:
            Handler.announced = True
            note("ready")
        self.send_response(200 if good else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def stop(*_: object) -> None:
    note("stop")
    os._exit(0)


signal.signal(signal.SIGTERM, signal.SIG_IGN if options.stubborn else stop)
note("start")
print(f"{options.name} says hello, nice {os.getpriority(os.PRIO_PROCESS, 0)}", flush=True)
if options.crash_until and not options.crash_until.exists():
    print("cannot work without that file", flush=True)
    sys.exit(1)
if options.crash_after:
    threading.Timer(options.crash_after, os._exit, (3,)).start()
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
