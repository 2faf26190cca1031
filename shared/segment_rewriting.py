"""Taking records out of a sealed segment: a copy without them is written, synced and put in its place. Offsets stay as they are.

Until the rename the old file is the log, from it on the new one; a crash leaves one of the two, and at most a draft that nobody reads.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from shared.errors import Outage
from shared.frames import HEADER_SIZE, Frame, header_of, pack
from shared.log import Record
from shared.segments import UNFINISHED, Partition, damaged

Clean = Callable[[Record], Record | None]
"""What takes a record's place; None where it stays as it is."""


def rewrite(partition: Partition, clean: Clean, end: int) -> int:
    """Clean the sealed segments below offset `end`; says how many records changed.

    Raises Outage where the disk takes nothing, with the segment as it was.
    """
    return sum(_rewrite(partition, base, clean) for base in partition.bases[:-1] if base < end)


def _rewrite(partition: Partition, base: int, clean: Clean) -> int:
    path = partition.path(base)
    try:
        if not any(clean(record) for _, records in frames_of(path) for record in records):
            return 0
        draft = path.with_name(f"{base:020}{UNFINISHED}")
        changed = _copy(path, draft, clean)
        partition.put_in_place(draft, base)
        draft.unlink(missing_ok=True)
    except FileNotFoundError:  # it was old, and dropped meanwhile
        return 0
    except OSError as error:
        raise Outage(f"cannot rewrite {path}: {error.strerror}") from error
    return changed


def _copy(path: Path, draft: Path, clean: Clean) -> int:
    changed = 0
    with draft.open("wb") as file:
        os.chmod(draft, path.stat().st_mode)
        for frame, records in frames_of(path):
            cleaned = [clean(record) for record in records]
            kept = [record if new is None else new for record, new in zip(records, cleaned, strict=True)]
            file.write(pack(frame.offset, frame.at, [(record.key, record.value) for record in kept]))
            changed += len(cleaned) - cleaned.count(None)
        file.flush()
        os.fsync(file.fileno())
    return changed


def frames_of(path: Path) -> Iterator[tuple[Frame, list[Record]]]:
    """The frames of a sealed segment with their records; raises ConfigurationError where one is damaged."""
    position = 0
    with path.open("rb") as file:
        while header := file.read(HEADER_SIZE):
            frame = header_of(header)
            body = b"" if frame is None else file.read(frame.body_size)
            if frame is None or not frame.fits(body):
                raise damaged(path, position)
            yield frame, list(frame.records(body))
            position += frame.size
