"""A key lies where Java's own producer puts it, so that other clients of the topics find what belongs together in one place."""

import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.servers import Missing, fetch_jars
from shared.kafka_writer import partition_of
from tests.servers import required

PROGRAM = Path(__file__).parents[2] / "java" / "Partitions.java"
LETTERS = "abcXYZ0189-_@. دعمéß漢🙂\x00"

BY_JAVA = {
    "": (9, 275646681),
    "a": (4, 584102524),
    "21": (0, 1173551340),
    "foobar": (6, 1357151166),
    "a-little-bit-long-string": (8, 1161502112),
    "abc": (3, 479470107),
    "ana@example.com": (6, 784527030),
    "3f1c2a34-8b57-4a0e-9d1f-0d6f0f7b2f11": (1, 1975956889),
    "سلام": (10, 1885095034),
    "schlüssel": (0, 331429656),
    "🙂": (3, 925250799),
    "\x00": (8, 375494588),
}
"""Partitions of 12 and of 2147483647, as kafka-clients 4.2.0 said: `java -cp '.services/kafka-jars/*' tests/java/Partitions.java 12`."""


@pytest.mark.parametrize(("key", "places"), BY_JAVA.items())
def test_a_key_lies_where_javas_producer_put_it(key: str, places: tuple[int, int]):
    assert (partition_of(key, 12), partition_of(key, 2147483647)) == places


@pytest.mark.parametrize("partitions", [1, 7, 12, 256, 2147483647])
def test_random_keys_lie_where_javas_producer_puts_them(partitions: int):
    chance = random.Random(partitions)
    keys = ["".join(chance.choices(LETTERS, k=chance.randrange(40))) for _ in range(1000)]
    assert [partition_of(key, partitions) for key in keys] == by_java(keys, partitions)


def by_java(keys: Sequence[str], partitions: int) -> list[int]:
    """What the real client says; skips, or fails where servers are required, without a JDK that runs a source file."""
    with required():
        if shutil.which("javac") is None:
            raise Missing("Java's own partitioner is asked through a JDK. Install it: sudo apt install openjdk-17-jdk-headless")
        command = ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{fetch_jars()}/*", str(PROGRAM), str(partitions)]
    told = "".join(f"{key.encode().hex()}\n" for key in keys)
    done = subprocess.run(command, input=told, capture_output=True, text=True, check=True, timeout=60)
    return [int(line) for line in done.stdout.split()]
