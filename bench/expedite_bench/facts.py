"""What a bench ran on: the machine and the versions of everything that matters to speed."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

import psutil

LIBRARIES = (
    "aiokafka", "asyncpg", "fastapi", "faststream", "msgspec", "orjson", "pydantic", "sqlalchemy", "starlette", "uvicorn", "uvloop",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system, and how busy it was."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "load_average_before": [round(x, 1) for x in os.getloadavg()],
    }


def versions() -> dict[str, str | None]:
    """Python and the libraries on the hot path; None for one that is not installed."""
    found: dict[str, str | None] = {"python": f"{platform.python_version()} ({platform.python_compiler()})"}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found
