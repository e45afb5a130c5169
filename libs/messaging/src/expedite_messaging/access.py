"""How every Kafka client of a process proves who it is, and whom it trusts: from the environment, as `KAFKA_BOOTSTRAP` is.

| variable | meaning | default |
|---|---|---|
| `KAFKA_SECURITY_PROTOCOL` | `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL` | `PLAINTEXT` |
| `KAFKA_SASL_MECHANISM` | `SCRAM-SHA-512`, `SCRAM-SHA-256` or `PLAIN` | `SCRAM-SHA-512` |
| `KAFKA_SASL_USERNAME`, `KAFKA_SASL_PASSWORD` | this service's login | |
| `KAFKA_SSL_CAFILE` | certificates of the authorities to trust | the system's |
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import Any

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")


class KafkaAccessError(Exception):
    """The environment does not say how to log in at Kafka; the text names the variable, never its value."""


def client_options(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The arguments about security of an aiokafka client. Raises `KafkaAccessError`."""
    protocol = environment.get("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT").upper()
    if protocol not in PROTOCOLS:
        raise KafkaAccessError(f"KAFKA_SECURITY_PROTOCOL is one of {', '.join(PROTOCOLS)}")
    if protocol == "PLAINTEXT":
        return {}
    options: dict[str, Any] = {"security_protocol": protocol}
    if protocol.endswith("SSL"):
        try:
            options["ssl_context"] = ssl.create_default_context(cafile=environment.get("KAFKA_SSL_CAFILE") or None)
        except OSError:  # also of what is in the file
            raise KafkaAccessError("KAFKA_SSL_CAFILE names no file with certificates") from None
    if protocol.startswith("SASL"):
        mechanism = environment.get("KAFKA_SASL_MECHANISM", MECHANISMS[0]).upper()
        if mechanism not in MECHANISMS:
            raise KafkaAccessError(f"KAFKA_SASL_MECHANISM is one of {', '.join(MECHANISMS)}")
        options |= {"sasl_mechanism": mechanism}
        for name in ("username", "password"):
            value = environment.get(f"KAFKA_SASL_{name.upper()}")
            if not value:
                raise KafkaAccessError(f"KAFKA_SASL_{name.upper()} is not set")
            options[f"sasl_plain_{name}"] = value
    return options
