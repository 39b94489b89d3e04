"""Where a key lies, as Kafka's own producers have it."""

import pytest

from streams.kafka.partitioner import home, murmur2


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_it_is_the_java_clients_hash(key: bytes, hashed: int) -> None:
    """Of keys of every length modulo four, known from that client."""
    assert hashed % 2**32 == murmur2(key)


def test_a_home_is_one_of_the_partitions() -> None:
    """Of one partition it is that; of many, all are used."""
    assert {0} == {home(b"%d" % number, 1) for number in range(50)}
    assert set(range(7)) == {home(b"%d" % number, 7) for number in range(500)}
