"""Keys go where every Kafka client places them."""

from __future__ import annotations

from aiokafka.partitioner import murmur2 as the_clients
from hypothesis import example, given
from hypothesis import strategies as st

from expedite_messaging.placing import murmur2, partition_of


@given(st.binary(max_size=70), st.integers(1, 512))
@example(b"", 4)
@example(b"EC-20261128-0000001", 4)
@example(b"\xff" * 16, 7)
def test_a_key_goes_where_the_client_puts_it(key: bytes, partitions: int) -> None:
    """I5: what others publish of an order is on the partition of what we publish."""
    assert murmur2(key) == the_clients(key) & 0xFFFF_FFFF
    assert partition_of(key, partitions) == (the_clients(key) & 0x7FFF_FFFF) % partitions
