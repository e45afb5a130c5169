"""Health, metrics, OpenAPI and settings (I3, I4, I5)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import APIRouter

from expedite_chassis import Runtime, ServiceSpec, Settings, testing
from expedite_chassis.app import create_health_app
from expedite_chassis.metrics import Metric
from expedite_chassis.settings import SecretsUnreadable, read_secrets
from expedite_messaging import Handlers, Transient
from expedite_messaging.memory import MemoryClock, MemoryEngine


def a_spec(**fields: Any) -> ServiceSpec:
    router = APIRouter()

    @router.get("/orders/{order_id}")
    async def get(order_id: str) -> str:
        return order_id

    return ServiceSpec("inventory", Handlers("inventory"), sa.MetaData(), router, "inventory", **fields)


def a_client(spec: ServiceSpec | None = None, **options: Any) -> httpx.AsyncClient:
    spec = spec or a_spec()
    return testing.client(spec, MemoryEngine(spec.handlers, MemoryClock()), **options)


async def test_alive_and_ready() -> None:
    """I3: health needs no key."""
    async with a_client(anonymous=True) as http:
        assert (await http.get("/livez")).status_code == 200
        ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert ready.json()["checks"] == {"serving": True, "worker": True, "database": True}


async def test_not_ready_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """I3: each check is named; liveness does not depend on them."""

    spec_ready = {"rules loaded": False}

    async def ready(_: Runtime) -> Mapping[str, bool]:
        return spec_ready

    spec = a_spec(ready=ready)
    runtime = testing.runtime_for(spec)
    engine = MemoryEngine(spec.handlers, MemoryClock())

    async def away(_: object) -> bool:
        raise Transient("db.internal:5432")

    async with testing.client(spec, engine, runtime=runtime, anonymous=True) as http:
        assert (await http.get("/readyz")).json()["checks"]["rules loaded"] is False
        monkeypatch.setattr(engine, "read", away)
        runtime.draining, runtime.worker_ready = True, lambda: False
        answer = await http.get("/readyz")
        assert (answer.status_code, set(answer.json()["checks"].values())) == (503, {False})
        assert "db.internal" not in answer.text
        monkeypatch.undo()
        assert 'expedite_ready{service="inventory"} 0.0' in (await http.get("/metrics")).text
        spec_ready["rules loaded"], runtime.draining, runtime.worker_ready = True, False, lambda: True
        assert 'expedite_ready{service="inventory"} 1.0' in (await http.get("/metrics")).text  # by the scrape alone
        assert (await http.get("/livez")).status_code == 200


async def test_a_check_that_hangs_or_fails_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """I3: readiness answers in time whatever a check does."""
    monkeypatch.setattr("expedite_chassis.health.CHECK_S", 0.01)

    async def hangs(_: Runtime) -> Mapping[str, bool]:
        await asyncio.Event().wait()
        return {}

    async def away(_: object) -> bool:
        await asyncio.Event().wait()
        return True

    spec = a_spec()
    engine = MemoryEngine(spec.handlers, MemoryClock())
    monkeypatch.setattr(engine, "read", away)
    async with testing.client(spec, engine) as http:
        assert (await http.get("/readyz")).json()["checks"]["database"] is False

    async def fails(_: Runtime) -> Mapping[str, bool]:
        raise RuntimeError

    for ready in (hangs, fails):
        async with a_client(a_spec(ready=ready)) as http:
            answer = await http.get("/readyz")
            assert (answer.status_code, answer.json()["checks"]["service"]) == (503, False)


async def test_metrics_count_by_template_and_hold_no_values() -> None:
    """I3, I5: labels are route templates, so their number is bounded and no id or token gets in."""
    async with a_client() as http:
        for number in range(5):
            await http.get(f"/orders/SECRET-{number}")
        await http.get("/SECRET")
        await http.request("BREW", "/orders/1")
        text = (await http.get("/metrics")).text
    assert (
        f'{Metric.HTTP_REQUESTS}_total{{method="GET",route="/orders/{{order_id}}",service="inventory",status="200"}} 5.0'
        in text
    )
    assert f'{Metric.HTTP_PROBLEMS}_total{{code="not-found",service="inventory"}} 1.0' in text
    assert 'method="other"' in text and "BREW" not in text
    assert "SECRET" not in text


async def test_metrics_are_private() -> None:
    """I5: what came through a proxy gets no metrics; two apps in one process count apart."""
    async with a_client() as http:
        for header in ("X-Forwarded-For", "Forwarded", "X-Forwarded-Host"):
            assert (await http.get("/metrics", headers={header: "x"})).status_code == 404
        await http.get("/orders/1")
    async with a_client() as other:
        assert 'route="/orders/{order_id}"' not in (await other.get("/metrics")).text


async def test_workers_serve_health_only() -> None:
    """I5: a worker's port has no API, no admin and no schema."""
    spec = a_spec()
    app = create_health_app(spec, MemoryEngine(spec.handlers, MemoryClock()), testing.runtime_for(spec))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://w") as http:
        found = {path: (await http.get(path)).status_code
                 for path in ("/livez", "/readyz", "/metrics", "/orders/1", "/admin/parked", "/openapi.json", "/problems")}  # fmt: skip
    assert found == {"/livez": 200, "/readyz": 200, "/metrics": 200, "/orders/1": 404, "/admin/parked": 404,
                     "/openapi.json": 404, "/problems": 404}  # fmt: skip


async def test_openapi_describes_errors_as_they_are() -> None:
    """A4: the contract shows problem documents and ways to authenticate; nothing is loaded from elsewhere."""
    async with a_client(anonymous=True) as http:
        schema = (await http.get("/openapi.json")).json()
        assert (await http.get("/docs")).status_code == (await http.get("/redoc")).status_code == 404
    operation = schema["paths"]["/orders/{order_id}"]["get"]
    answers = operation["responses"]
    assert set(answers) == {"200", "400", "404", "413", "422", "431", "500", "503"}  # each under its own status
    shared = schema["components"]["responses"]
    assert {answers[status]["$ref"].rpartition("/")[2] for status in ("422", "503")} == {"Problem", "Unavailable"}
    assert set(shared["Problem"]["content"]) == {"application/problem+json"}
    assert "HTTPValidationError" not in json.dumps(schema)
    assert set(schema["components"]["securitySchemes"]) == {"bearer", "apiKey", "link"}
    assert operation["security"] == []  # this route asks for nobody
    parked = schema["paths"]["/admin/parked"]["get"]
    assert parked["security"] == [{"bearer": ["ops"]}, {"apiKey": ["ops"]}]
    assert {"401", "403"} <= parked["responses"].keys()
    assert "/metrics" not in schema["paths"]


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """I2: one process is told everything by its environment."""
    environment = {
        "DATABASE_URL": "postgresql://u:hidden@h/db", "KAFKA_BOOTSTRAP": "h:9092", "PORT": "8003", "EXPEDITE_SLOT": "2",
        "EXPEDITE_HOME": str(tmp_path), "EXPEDITE_URLS": '{"inventory": "http://127.0.0.1:8003"}',
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("EXPEDITE_SECRETS", raising=False)
    settings = Settings()
    assert (settings.port, settings.slot, settings.kafka_bootstrap) == (8003, 2, "h:9092")
    assert settings.urls == {"inventory": "http://127.0.0.1:8003"}
    assert settings.secrets_path == tmp_path / "secrets.json"
    assert "hidden" not in repr(settings)
    monkeypatch.setenv("EXPEDITE_SECRETS", str(tmp_path / "other.json"))
    assert Settings().secrets_path == tmp_path / "other.json"
    monkeypatch.setenv("PORT", "99999")
    with pytest.raises(ValueError, match="PORT"):
        Settings()


def test_a_secrets_file_that_cannot_be_read_is_named_without_its_content(tmp_path: Path) -> None:
    """I5: the error names the file and never what is in it."""
    path = tmp_path / "secrets.json"
    with pytest.raises(SecretsUnreadable, match=r"no secrets file .*secrets\.json"):
        read_secrets(path)
    for text in ('{"api_keys": {"shop": hidden', '["hidden"]'):
        path.write_text(text)
        with pytest.raises(SecretsUnreadable) as raised:
            read_secrets(path)
        assert "hidden" not in str(raised.value)
    path.write_text('{"api_keys": {}}')
    assert read_secrets(path) == {"api_keys": {}}


async def test_one_object_per_name_and_process() -> None:
    """Runtime.shared makes each thing once."""
    runtime = testing.runtime_for(a_spec())
    assert runtime.shared("group", list) is runtime.shared("group", list)
    assert runtime.shared("other", list) is not runtime.shared("group", list)
    await runtime.http.aclose()


async def test_calls_to_others_carry_the_trace_and_follow_no_redirect() -> None:
    """I3, I5: outgoing calls continue the trace; a redirect is an answer, not an order."""
    from expedite_chassis import tracing

    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(302, headers={"Location": "http://169.254.169.254/"})

    runtime = testing.runtime_for(a_spec())
    hooks = runtime.http.event_hooks
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), event_hooks=hooks,
                                 follow_redirects=runtime.http.follow_redirects) as http:  # fmt: skip
        with tracing.following(None) as trace:
            assert (await http.get("http://carrier.example/rates")).status_code == 302
    assert len(seen) == 1
    assert seen[0].headers["traceparent"].split("-")[1] == trace.trace_id
    await runtime.http.aclose()
