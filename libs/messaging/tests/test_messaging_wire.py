"""What goes to the broker: headers as they were stored, batches compressed for speed."""

from aiokafka.codec import lz4_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder

import expedite_messaging.relay  # noqa: F401 - sets the level
from expedite_messaging.records import wire_headers


def test_headers_come_out_as_they_went_in() -> None:
    packed = b"\0".join([b"ce_id", b"1", b"ce_source", b"/expedite/shipping", b"traceparent", b"00-aa"])
    for _ in range(2):  # their names are known the second time
        assert wire_headers(packed, 7) == [
            ("ce_id", b"1"), ("ce_source", b"/expedite/shipping"), ("traceparent", b"00-aa"), ("ce_sequence", b"7")
        ]  # fmt: skip


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
