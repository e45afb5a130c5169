"""What goes to the broker: headers as they were stored, batches compressed for speed."""

from aiokafka.codec import lz4_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from expedite_sample.worlds import tracked
from msgspec.structs import replace

import expedite_messaging.relay  # noqa: F401 - sets the level
from expedite_messaging.records import wire_headers


def test_headers_come_out_as_they_went_in() -> None:
    envelope = replace(tracked("A", "ok1"), traceparent="00-aa-bb-01", sequence=7)
    for _ in range(2):  # what its kind has in common is known the second time
        assert wire_headers(envelope.packed(), 7) == envelope.headers()


def test_rows_of_another_build_come_out_whole() -> None:
    """In any order: they wait in the outbox while a new version is rolled out."""
    pairs = [*reversed(tracked("A", "ce_specversion").emission()), ("ce_new", b"x")]
    packed = b"\0".join([part for name, value in pairs for part in (name.encode(), value)])
    assert wire_headers(packed, 7) == [*pairs, ("ce_sequence", b"7")]


def test_batches_are_compressed_at_the_fastest_level() -> None:
    """The client's own default is nine, and no setting of it says otherwise."""

    def built(compression: int) -> bytes:
        builder = DefaultRecordBatchBuilder(
            2, compression, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=10**6
        )
        for number in range(200):
            builder.append(number, 1, key=b"key", value=b"%d times the same, nearly" % number, headers=[])
        return bytes(builder.build())

    head = 61  # bytes of a batch before its records
    plain, packed = built(0)[head:], built(3)[head:]
    assert packed == lz4_encode(plain, 1) != lz4_encode(plain, 9)
