"""What of the repository is outside of any package: benches and simulations run from a checkout only."""

from __future__ import annotations

from pathlib import Path

from expedite_local.errors import LocalError


def checkout_with(inside: str, command: str) -> Path:
    """The checkout this code runs from, or the one the person stands in, that has the folder `inside`. Raises
    `LocalError` with the remedy; `command` is what the person wants to run."""
    for start in (Path(__file__).resolve(), Path.cwd() / "here"):
        for folder in start.parents:
            if (folder / "pyproject.toml").is_file() and (folder / inside).is_dir():
                return folder
    raise LocalError(
        f"{Path(inside).parts[0]}/ is not part of the installed package: clone the repository and run `uv run {command}` in it"
    )
