"""The admin APIs of all services of a running system, as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from expedite_local.errors import LocalError
from expedite_local.services import SERVICES, find

TIMEOUT_S = 60.0


class Refused(LocalError):
    """A service said no; the text is its problem in words. `errors` names fields."""

    def __init__(self, service: str, problem: Mapping[str, Any]) -> None:
        self.status, self.code = problem.get("status", 0), str(problem.get("type", "")).removeprefix("/problems/")
        self.errors = [
            f"{e.get('pointer') or e.get('parameter', '')}: {e['message']}" for e in problem.get("errors", ())
        ]
        said = " ".join(filter(None, (str(problem.get("title", "")), str(problem.get("detail", "")))))
        super().__init__("\n  ".join((f"{service}: {said}", *self.errors)))


@dataclass
class Desk:
    """Asks services by their base URLs (by name) with one API key. `silent`: those that did not answer."""

    urls: Mapping[str, str]
    api_key: str
    silent: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._http = httpx.Client(
            trust_env=False, timeout=TIMEOUT_S, headers={"authorization": f"Bearer {self.api_key}"}
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def services(self, wanted: str = "") -> list[str]:
        """The named service, or all that run. Raises LocalError when the named one does not run."""
        running = [service.name for service in SERVICES if service.name in self.urls]
        if not wanted:
            return running
        name = find(wanted).name
        if name not in running:
            raise LocalError(f"{name} does not run here; these do: {', '.join(running)}")
        return [name]

    def call(self, service: str, method: str, path: str, **options: Any) -> Any:
        """The JSON a service answers. Raises `Refused`, and LocalError when it does not answer."""
        try:
            response = self._http.request(method, f"{self.urls[service]}{path}", **options)
        except httpx.HTTPError as error:
            raise LocalError(f"{service} does not answer ({type(error).__name__}): see `expedite status`") from None
        if response.is_success:
            return response.json()
        try:
            problem = response.json()
        except ValueError:
            problem = {"title": f"answered {response.status_code}", "status": response.status_code}
        raise Refused(service, problem)

    def pages(self, wanted: str, path: str, **params: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every item of a list, with its service; services that do not answer are left out and noted."""
        for service in self.services(wanted):
            cursor: Any = None
            try:
                while True:
                    query = {**params, **({} if cursor is None else {"cursor": cursor})}
                    page = self.call(service, "GET", path, params=query)
                    for item in page["items"]:
                        yield service, item
                    cursor = page["next"]
                    if cursor is None:
                        break
            except Refused:
                raise
            except LocalError as error:
                self.silent[service] = str(error)

    def parked(self, key: str, wanted: str = "") -> tuple[str, list[dict[str, Any]]]:
        """The service in which a key is parked, and its events. Raises LocalError when there is none, or several."""
        found: dict[str, list[dict[str, Any]]] = {}
        for service in self.services(wanted):
            try:
                found[service] = self.call(service, "GET", key_path(key, "/events"))["events"]
            except Refused as refused:
                if refused.status != 404:
                    raise
        if len(found) > 1:
            raise LocalError(f"{key} is parked in {' and in '.join(found)}: say which with --service")
        if not found:
            raise LocalError(f"nothing is parked under {key}; `expedite parked list` shows what is")
        return next(iter(found.items()))

    def event(self, key: str, event_id: str, wanted: str = "") -> tuple[str, dict[str, Any]]:
        """One parked event of a key; the start of its id is enough where it is the only one. Raises LocalError."""
        service, events = self.parked(key, wanted)
        fitting = [event for event in events if event["event_id"].startswith(event_id.lower())]
        if len(fitting) != 1:
            known = ", ".join(event["event_id"] for event in events[:5])
            few = "no event" if not fitting else "several events"
            raise LocalError(f"{few} of {key} in {service} begin with {event_id}; there are {known}")
        return service, fitting[0]

    def dropped(self, event_id: str, wanted: str = "") -> tuple[str, dict[str, Any]]:
        """One dropped event, by its id or the start of it. Raises LocalError."""
        fitting = [
            (service, item)
            for service, item in self.pages(wanted, "/admin/dropped", limit=1000)
            if item["event_id"].startswith(event_id.lower())
        ]
        if len(fitting) != 1:
            raise LocalError(
                f"{len(fitting)} dropped events begin with {event_id}; see `expedite parked list --dropped`"
            )
        return fitting[0]


def key_path(key: str, rest: str = "") -> str:
    """The path of a parked key below a service's URL."""
    return f"/admin/parked/{quote(key, safe='')}{rest}"
