"""The web boilerplate of all services: settings, app factory, problems, auth, health, metrics, logs, trace context."""

from expedite_chassis import links, webhooks
from expedite_chassis.app import create_app
from expedite_chassis.auth import Caller, issue_token, keep_pace, require
from expedite_chassis.deps import EngineDep, RawBody, RuntimeDep
from expedite_chassis.idempotency import (
    Answer,
    IdempotencyBook,
    IdempotencyRecord,
    KeyedRequest,
    idempotency_collection,
    keyed,
    open_idempotency,
)
from expedite_chassis.inputs import Amount, Flag, Instant, Names, Price, QueryFlag, Written, storable
from expedite_chassis.main import run
from expedite_chassis.openapi import followed_by, security_of
from expedite_chassis.problem_types import ProblemType, register_problem
from expedite_chassis.problems import FieldProblem, Problem
from expedite_chassis.settings import Settings
from expedite_chassis.spec import Runtime, ServiceSpec
from expedite_chassis.tracing import root

__all__ = [
    "Amount",
    "Answer",
    "Caller",
    "EngineDep",
    "FieldProblem",
    "Flag",
    "IdempotencyBook",
    "IdempotencyRecord",
    "Instant",
    "KeyedRequest",
    "Names",
    "Price",
    "Problem",
    "ProblemType",
    "QueryFlag",
    "RawBody",
    "Runtime",
    "RuntimeDep",
    "ServiceSpec",
    "Settings",
    "Written",
    "create_app",
    "followed_by",
    "idempotency_collection",
    "issue_token",
    "keep_pace",
    "keyed",
    "links",
    "open_idempotency",
    "register_problem",
    "require",
    "root",
    "run",
    "security_of",
    "storable",
    "webhooks",
]
