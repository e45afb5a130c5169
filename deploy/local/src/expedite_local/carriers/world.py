"""The carriers at work: they learn of parcels that were handed over, and tell their story in signed webhooks until each is
accepted."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import httpx
import orjson

from expedite_local.carriers import messages
from expedite_local.carriers.rates import Profile
from expedite_local.carriers.script import Send, Step, Story, first_word, tell

log = logging.getLogger("expedite.carriers")

ACTIVE_AT_MOST = 50_000  # parcels under way; more wait in shipping's list until some have arrived
REMEMBERED = 100_000  # labels and finished parcels kept for questions, oldest forgotten first
SENDERS = 12
POLL_S, LONGEST_POLL_S = 1.0, 10.0
POLL_BUSINESS_S = 60.0  # no story begins earlier after its hand-over
OVERLAP_S = 5.0  # hand-overs may become visible a little later than they happened: the last ones are read again
PAGE = 500
BACK_OFF_S = (0.5, 1, 2, 5, 10, 30, 60)


class Clock:
    """Business time: real time passed times the speed, set right whenever shipping tells its own."""

    def __init__(self, speed: float, real: Callable[[], float] = time.monotonic) -> None:
        self.speed, self._real = speed, real
        self._at, self._business = real(), datetime.now(UTC)

    def now(self) -> datetime:
        return self._business + timedelta(seconds=(self._real() - self._at) * self.speed)

    def set(self, business: datetime) -> None:
        """It is this time now."""
        self._at, self._business = self._real(), business

    def seconds_until(self, business: datetime) -> float:
        """Real seconds until a business time; none when it is past, for ever when the clock stands still."""
        ahead = (business - self.now()).total_seconds()
        if ahead <= 0:
            return 0.0
        return ahead / self.speed if self.speed > 0 else float("inf")


class Remembered(OrderedDict[str, Any]):
    """A dict that forgets its oldest entries beyond a limit."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        while len(self) > self.limit:
            self.popitem(last=False)


@dataclass
class Journey:
    """A parcel under way and the next webhook of its story, which is made up when the first one is due."""

    profile: Profile
    number: str
    handed_at: datetime
    expected_at: datetime
    seed: int
    next: int = 0
    attempts: int = 0

    @cached_property
    def story(self) -> Story:
        """Everything that happens to it."""
        return tell(self.seed, self.profile.carrier_id, self.number, self.handed_at, self.expected_at)

    @property
    def send(self) -> Send:
        return self.story.sends[self.next]

    def body(self) -> bytes:
        """The webhook to send now."""
        step, event_id = self.send.step, self.send.event_id
        if self.profile.webhook_format == "easypost":
            told = self.story.steps[: step + 1]
            return messages.easypost(self.profile, self.number, told, event_id, self.expected_at)
        return messages.native(self.number, self.story.steps[step], event_id)


class World:
    """Everything the carriers know. `begin` starts a parcel's story; `run` tells stories until it is cancelled."""

    def __init__(
        self,
        profiles: Mapping[str, Profile],
        http: httpx.AsyncClient,
        shipping_url: str,
        secrets: Mapping[str, Any],
        clock: Clock,
        seed: int,
    ) -> None:
        self.profiles, self.clock, self.seed = profiles, clock, seed
        self._http, self._url, self._secrets = http, shipping_url.rstrip("/"), secrets
        self.active: dict[str, Journey] = {}
        self.labels = Remembered(REMEMBERED)  # tracking number -> expected transit and label
        self.voided = Remembered(REMEMBERED)
        self.finished = Remembered(REMEMBERED)  # tracking number -> last step
        self.sent = self.refused = 0
        self._due: list[tuple[datetime, int, str]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self._looked: dict[str, datetime] = {}  # carrier -> hand-over of the last parcel taken up

    @property
    def read_key(self) -> str | None:
        """The API key with which the carriers read shipping's list of handed-over parcels."""
        found = self._secrets.get("api_keys", {}).get("carriers", {}).get("key")
        return str(found) if found else None

    def api_key_of(self, carrier_id: str) -> str | None:
        """The key with which shipping buys labels here; None: none was agreed, anybody may."""
        found = self._secrets.get("carriers", {}).get(carrier_id, {}).get("api_key")
        return str(found) if found else None

    def secret_of(self, carrier_id: str) -> str:
        """The webhook secret agreed with shipping; a rotation lists the newest first."""
        found = self._secrets.get("webhooks", {}).get(carrier_id, "")
        return str(found if isinstance(found, str) else found[0])

    def begin(self, carrier_id: str, number: str, handed_at: datetime, expected_at: datetime) -> bool:
        """A parcel was handed over. False when it is known already or there is no room for it now."""
        if number in self.active or number in self.finished or len(self.active) >= ACTIVE_AT_MOST:
            return False
        self.active[number] = Journey(self.profiles[carrier_id], number, handed_at, expected_at, self.seed)
        self._wait(first_word(handed_at, expected_at), number)
        return True

    def _wait(self, at: datetime, number: str) -> None:
        heapq.heappush(self._due, (at, next(self._order), number))
        if self._due[0][2] == number:  # the others do not wait for less than before
            self._changed.set()

    def seen(self, number: str) -> tuple[Step, ...]:
        """The checkpoints a parcel has passed by now."""
        journey = self.active.get(number)
        if journey is None:
            return tuple(self.finished.get(number, ()))
        return tuple(step for step in journey.story.steps if step.at <= self.clock.now())

    async def run(self) -> None:
        """Tell all stories, and look for new parcels, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            for _ in range(SENDERS):
                group.create_task(self._sender())

    async def _sender(self) -> None:
        while True:
            await self.step(await self._next_due())

    def take(self, by: datetime) -> str | None:
        """The parcel whose next webhook is due first, if it is due by then. Whoever takes it must `step` it."""
        while self._due and self._due[0][0] <= by:
            number = heapq.heappop(self._due)[2]
            due = self.active[number].send.at
            if due <= by:
                return number
            self._wait(due, number)  # its story begins later than a story may
        return None

    async def _next_due(self) -> str:
        while True:
            self._changed.clear()
            number = self.take(self.clock.now())
            if number is not None:
                return number
            wait = self.clock.seconds_until(self._due[0][0]) if self._due else float("inf")
            try:
                # A second at most: the clock may have been set meanwhile.
                await asyncio.wait_for(self._changed.wait(), min(wait, 1.0))
            except TimeoutError:
                continue

    async def step(self, number: str) -> bool:
        """Send the parcel's next webhook; True when it was accepted. One that was not comes again, and what follows it
        waits, as with a carrier that keeps the order of each parcel."""
        journey = self.active[number]
        accepted = await self._post(journey)
        if not accepted:
            back_off = BACK_OFF_S[min(journey.attempts, len(BACK_OFF_S) - 1)]
            journey.attempts += 1
            self.refused += 1
            self._wait(self.clock.now() + timedelta(seconds=back_off * max(self.clock.speed, 0.001)), number)
            return False
        self.sent += 1
        journey.attempts = 0
        journey.next += 1
        if journey.next < len(journey.story.sends):
            self._wait(journey.send.at, number)
        else:
            del self.active[number]
            self.finished[number] = journey.story.steps
        return True

    async def _post(self, journey: Journey) -> bool:
        profile, body = journey.profile, journey.body()
        return await self.push(profile, body, journey.send.event_id)

    async def push(self, profile: Profile, body: bytes, event_id: str) -> bool:
        """One signed attempt to deliver a webhook."""
        url = f"{self._url}/webhooks/{profile.webhook_format}/{profile.carrier_id}"
        try:
            headers = messages.signed(profile, body, event_id, self.secret_of(profile.carrier_id))
        except ValueError as error:  # one carrier's bad secret must not stop the others
            log.warning("webhooks.%s in the secrets file cannot be used: %s", profile.carrier_id, error)
            return False
        try:
            response = await self._http.post(url, content=body, headers=dict(headers), timeout=10)
        except httpx.HTTPError:
            return False
        if response.status_code == 401:
            log.warning("shipping does not accept the signature of %s: check its webhook secret", profile.carrier_id)
        return response.is_success

    async def _watch(self) -> None:
        """Find parcels that were handed over. First all of them, to take up stories after a restart; then those handed
        over since."""
        if self.read_key is None:
            log.warning(
                "no API client 'carriers' with scope read in the secrets file: tell us of parcels by POST /pickup"
            )
            return
        while True:
            try:
                for carrier_id in self.profiles:
                    await self.look(carrier_id)
            except (httpx.HTTPError, ValueError, KeyError) as error:
                log.debug("shipping cannot be read now: %s", type(error).__name__)
            speed = max(self.clock.speed, 0.001)
            await asyncio.sleep(min(max(POLL_S, POLL_BUSINESS_S / speed), LONGEST_POLL_S))

    async def look(self, carrier_id: str) -> int:
        """Begin the stories of parcels handed over since the last look; the number begun. When there is no room for more,
        the next look goes on where this one stopped."""
        begun, after = 0, None
        since = self._looked.get(carrier_id)
        while True:
            query: dict[str, str] = {"limit": str(PAGE)}
            if since:
                query["since"] = (since - timedelta(seconds=OVERLAP_S * self.clock.speed)).isoformat()
            query |= {"after": after} if after else {}
            answer = await self._http.get(
                f"{self._url}/carriers/{carrier_id}/manifest", params=query,
                headers={"Authorization": f"Bearer {self.read_key}"}, timeout=10,
            )  # fmt: skip
            answer.raise_for_status()
            page = orjson.loads(answer.content)
            self.clock.set(datetime.fromisoformat(page["now"]))
            for row in page["items"]:
                if len(self.active) >= ACTIVE_AT_MOST:
                    return begun
                handed_at = datetime.fromisoformat(row["handed_at"])
                begun += self.begin(
                    carrier_id, row["tracking_number"], handed_at, datetime.fromisoformat(row["expected_at"])
                )
                self._looked[carrier_id] = handed_at
            after = page["next"]
            if after is None:
                return begun
