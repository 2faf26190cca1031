"""The same scoring as a Quix Streams application: fold each event into its lead by our own core, keep the lead in RocksDB, tell activities.

It does less than we do: every key is one lead, no event is recorded, a repeat counts twice. It runs in an environment of its own
(`requirements.txt` beside it) as `python -m bench.quix.app BOOTSTRAP TOPIC PLAYBOOK COUNT` and prints the seconds from the first event
to the last one committed.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from quixstreams import Application, State

from services.scoring.identity import names_of
from services.scoring.leads import Definitions, Roster, Scored
from services.scoring.loader import load
from shared.wire import decode_event, encode

decode_scored = msgspec.json.Decoder(Scored).decode


class Fold:
    """One lead's state and one event in, activities out; knows when the first event came."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self.began = 0.0

    def __call__(self, value: bytes, state: State) -> Iterator[bytes]:
        self.began = self.began or time.perf_counter()
        event = decode_event(value)
        names = names_of(event)
        roster = Roster(self._definitions, event.received_at)
        if (known := state.get_bytes("lead")) is not None:
            scored = decode_scored(known)
            roster.leads[scored.lead.id] = scored
            roster.identities = dict.fromkeys(names.identities, scored.lead.id)
        roster.take(event, names, value)
        (lead_id,) = roster.changed
        state.set_bytes("lead", encode(roster.leads[lead_id]))
        for issued in roster.issued:
            yield encode(issued.activity)


def main(bootstrap: str, topic: str, playbook: str, count: str) -> None:
    files = {path.relative_to(playbook).as_posix(): path.read_bytes() for path in Path(playbook).rglob("*.yaml")}
    fold = Fold(load(files, {}))
    with tempfile.TemporaryDirectory() as folder:
        application = Application(
            broker_address=bootstrap,
            consumer_group=f"quix-{time.monotonic_ns():x}",
            auto_offset_reset="earliest",
            state_dir=folder,
            loglevel="WARNING",
        )
        events: Any = application.topic(topic, value_deserializer="bytes", key_deserializer="str")
        told: Any = application.topic(f"{topic}.told", value_serializer="bytes", key_serializer="str")
        application.dataframe(events).apply(fold, stateful=True, expand=True).to_topic(told)
        application.run(count=int(count))
        sys.stdout.write(f"{time.perf_counter() - fold.began}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
