"""Errors a person can act on: the command prints their text alone, without a traceback."""

from __future__ import annotations


class LocalError(Exception):
    """Something about this machine or this home stands in the way; the text says what and what to do."""


class PortTaken(LocalError):
    """A port the system was asked to use is in use."""


class ServerFailed(LocalError):
    """PostgreSQL or Kafka did not start; the text ends with the last lines of its log."""


class AlreadyRunning(LocalError):
    """Another supervisor holds this home."""


class StartFailed(LocalError):
    """A supervised process could not be brought to readiness."""
