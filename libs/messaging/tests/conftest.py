"""Puts the sample service on the path and takes the library's own fixtures."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "sample"))

from expedite_sample.brokers import kafka

from expedite_messaging.testing import fresh_database, postgres_server

__all__ = ["fresh_database", "kafka", "postgres_server"]
