"""Kafka's jars: resolved from Maven coordinates into the user's cache, every one checked against committed sums.

The lock file (`kafka.lock.json`, inside the package) names each jar with its coordinates and SHA-256. At run
time nothing is resolved anew: exactly those jars are fetched, or taken from a folder named by
`EXPEDITE_KAFKA_JARS` (machines without internet). A company mirror is taken from jgo's own configuration file.

`python -m expedite_local.jars` resolves the coordinates again and rewrites the lock file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from expedite_local.errors import LocalError
from expedite_local.home import cache_folder

KAFKA_VERSION = "4.3.1"
COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    "org.slf4j:slf4j-simple:1.7.36",  # without a binding the broker logs nothing
)
LOCK_NAME = "kafka.lock.json"
FOLDER_VARIABLE = "EXPEDITE_KAFKA_JARS"
_FETCHES_AT_ONCE = 8
_FETCH_TIMEOUT_SECONDS = 60

Progress = Callable[[int, int], None]
"""Called with (jars done, jars in all) while fetching."""


class JarsError(LocalError):
    """The jars could not be fetched, or one is not what the lock file says."""


@dataclass(frozen=True)
class Jar:
    """One locked jar: its file name, `group:artifact:version`, and the SHA-256 of its bytes (hex)."""

    file: str
    coordinate: str
    sha256: str


def locked_jars() -> list[Jar]:
    """The jars named by the committed lock file."""
    content = json.loads((files("expedite_local") / LOCK_NAME).read_text(encoding="utf-8"))
    return [Jar(file, entry["coordinate"], entry["sha256"]) for file, entry in content["jars"].items()]


def jars_folder() -> Path:
    """Where the checked jars of this Kafka version are cached."""
    return cache_folder() / f"kafka-{KAFKA_VERSION}"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def problems(folder: Path, jars: list[Jar]) -> Iterator[str]:
    """What is wrong with the jars in a folder, one line each; nothing when every locked jar is there and right."""
    for jar in jars:
        path = folder / jar.file
        if not path.exists():
            yield f"{jar.file} is missing"
        elif (found := sha256_of(path)) != jar.sha256:
            yield f"{jar.file} has SHA-256 {found}, the lock file says {jar.sha256}"


def check(folder: Path, jars: list[Jar]) -> None:
    """Raise JarsError unless every locked jar is in the folder with the locked SHA-256."""
    found = list(problems(folder, jars))
    if found:
        shown = "\n  ".join(found[:5])
        raise JarsError(
            f"Kafka is not started: {len(found)} of {len(jars)} jars in {folder} are not the locked ones:\n  {shown}\n"
            f"Delete that folder to fetch them again."
        )


def ensure_jars(progress: Progress | None = None) -> list[Path]:
    """The class path: every locked jar, checked now; fetched into the cache first when it is not there.

    Raises JarsError when a jar cannot be fetched or has another SHA-256 than the lock file says; a wrong jar
    never reaches the cache.
    """
    jars = locked_jars()
    folder = jars_folder()
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="kafka-fetch-") as scratch:
            complete = Path(scratch) / "jars"
            complete.mkdir()
            provided = os.environ.get(FOLDER_VARIABLE)
            if provided:
                _copy(Path(provided), complete, jars)
            else:
                _fetch(Path(scratch) / "repository", complete, jars, progress)
            check(complete, jars)
            try:
                complete.rename(folder)
            except OSError:  # another process was first; its jars are checked below like ours
                if not folder.exists():
                    raise
    check(folder, jars)
    return [folder / jar.file for jar in jars]


def _copy(source: Path, target: Path, jars: list[Jar]) -> None:
    for jar in jars:
        if (source / jar.file).exists():
            shutil.copyfile(source / jar.file, target / jar.file)


def _context(repository: Path) -> Any:
    """A jgo Maven context that downloads into `repository`; honours the mirrors of jgo's configuration file."""
    from jgo.config import GlobalSettings  # imported here: needed on the first start only
    from jgo.maven import MavenContext

    mirrors = dict(GlobalSettings.load().repositories)
    return MavenContext(repo_cache=repository, remote_repos=mirrors or None, timeout=_FETCH_TIMEOUT_SECONDS)


def _fetch(repository: Path, target: Path, jars: list[Jar], progress: Progress | None) -> None:
    context = _context(repository)

    def fetch_one(jar: Jar) -> None:
        group, artifact, version = jar.coordinate.split(":")
        path = context.project(group, artifact).at_version(version).artifact().resolve()
        shutil.move(path, target / jar.file)

    with ThreadPoolExecutor(_FETCHES_AT_ONCE) as pool:
        waiting = [pool.submit(fetch_one, jar) for jar in jars]
        for done, future in enumerate(as_completed(waiting), start=1):
            try:
                future.result()
            except Exception as error:
                pool.shutdown(cancel_futures=True)
                raise JarsError(
                    f"Kafka's jars could not be fetched: {error}\n"
                    f"Without internet, put them in a folder and name it in {FOLDER_VARIABLE}, "
                    f"or set KAFKA_BOOTSTRAP to use a Kafka that runs elsewhere."
                ) from error
            if progress:
                progress(done, len(jars))


def resolve() -> list[Jar]:
    """Resolve COORDINATES with everything they need, download it, and return the jars with their sums."""
    from jgo.parse import Endpoint

    with tempfile.TemporaryDirectory(prefix="kafka-resolve-") as scratch:
        context = _context(Path(scratch))
        wanted = [
            context.create_dependency(coordinate) for coordinate in Endpoint.parse("+".join(COORDINATES)).coordinates
        ]
        for dependency in wanted:
            dependency.scope = dependency.scope or "compile"
        inputs, transitive = context.resolver.resolve(wanted)
        artifacts = [
            dependency.artifact
            for dependency in [*inputs, *(d for d in transitive if d.scope in ("compile", "runtime"))]
        ]
        return sorted(
            (
                Jar(a.filename, f"{a.groupId}:{a.artifactId}:{a.component.resolved_version}", sha256_of(a.resolve()))
                for a in artifacts
            ),
            key=lambda jar: jar.file,
        )


def main() -> None:
    """Rewrite the lock file of this source tree from the coordinates, and say what changed."""
    path = Path(__file__).with_name(LOCK_NAME)
    before = {jar.file: jar.sha256 for jar in locked_jars()} if path.exists() else {}
    jars = resolve()
    content = {
        "coordinates": list(COORDINATES),
        "jars": {jar.file: {"coordinate": jar.coordinate, "sha256": jar.sha256} for jar in jars},
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    after = {jar.file: jar.sha256 for jar in jars}
    for file in sorted(before.keys() | after.keys()):
        if before.get(file) != after.get(file):
            sys.stdout.write(f"{file}: {before.get(file, 'new')} -> {after.get(file, 'gone')}\n")
    sys.stdout.write(f"{len(jars)} jars locked in {path.name}\n")


if __name__ == "__main__":
    main()
