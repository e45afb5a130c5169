"""A mutant: one deliberate fault in one file of the product."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
MESSAGING = "libs/messaging/src/expedite_messaging"


class DoesNotApply(Exception):
    """The text a mutant replaces is not there, or there more than once: the code has moved on, the mutant must follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """What is replaced where. `wrong` says in one sentence what the house then does; `attacks` names the invariants,
    requirements or pitfalls it breaks. `unseen` says why the simulation cannot meet the fault, when it cannot: it runs no
    SQL, no broker, no two processes."""

    name: str
    wrong: str
    attacks: str
    file: str  # below the root of the repository
    old: str  # occurs exactly once
    new: str
    unseen: str = ""

    def applied(self, text: str) -> str:
        """The file's text with the fault in it. Raises `DoesNotApply`."""
        found = text.count(self.old)
        if found != 1:
            raise DoesNotApply(f"{self.name}: its old text occurs {found} times in {self.file}, not once:\n{self.old}")
        return text.replace(self.old, self.new)

    def check(self, root: Path) -> None:
        """Raises `DoesNotApply` when the fault cannot be put into this tree, or is no Python any more."""
        path = root / self.file
        if not path.is_file():
            raise DoesNotApply(f"{self.name}: there is no {self.file}")
        try:
            compile(self.applied(path.read_text()), self.file, "exec")
        except SyntaxError as error:
            raise DoesNotApply(f"{self.name}: {self.file} does not compile with it: {error}") from error
