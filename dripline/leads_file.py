"""A CSV of leads as `identify` calls: its encoding and its delimiter found out, each row judged, what is wrong named by row and column.

file ──opened──► text ──rows──► Row (a call for /v1/import) | Bad (row, column, why)

Rows are counted as spreadsheets do: the heading is row 1.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from charset_normalizer import from_bytes

from services.scoring.words import address_of
from shared.errors import ConfigurationError

DELIMITERS = ",;\t|"
SAMPLE = 256 * 1024
"""Bytes from which encoding and delimiter are told."""
LARGEST_CELL = 32 * 1024
OLD_ENCODINGS = ["cp1256", "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "iso8859_15", "cp932", "gb18030", "euc_kr", "big5"]
"""What spreadsheets write that know no Unicode; cp1256 is Arabic's and Persian's."""
FIELDS = ("email", "user_id", "anonymous_id", "consent", "consent_source", "locale", "timezone", "tags")
ALSO = {
    "e-mail": "email",
    "email address": "email",
    "e-mail address": "email",
    "userid": "user_id",
    "user id": "user_id",
    "language": "locale",
}
YES = frozenset({"true", "yes", "y", "1", "on", "x", "ja", "oui", "si", "sí", "نعم", "بله", "آری"})
NOT = frozenset({"false", "no", "n", "0", "off", "nein", "non", "لا", "نه", "خیر"})


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can be sent: the call, and the id that makes its repeat the same one."""

    number: int
    call: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Bad:
    """What is wrong with a row; `column` as its heading says, empty where it is the row as a whole."""

    number: int
    column: str
    message: str

    def __str__(self) -> str:
        return f"row {self.number}{f', column {self.column}' if self.column else ''}: {self.message}"


@dataclass(frozen=True, slots=True)
class LeadsFile:
    """An open file whose first lines were understood."""

    raw: BinaryIO
    encoding: str
    delimiter: str
    columns: Sequence[str]
    fields: Sequence[str]  # what each column is to us: one of FIELDS, or `traits.NAME`
    reader: Iterator[list[str]]

    def rows(self, source: str) -> Iterator[Row | Bad]:
        """Each row judged; empty ones are passed over. `source` is said of consent whose row names none."""
        number = 1
        while True:
            number += 1
            try:
                cells = next(self.reader)
            except StopIteration:
                return
            except (csv.Error, UnicodeError) as error:
                yield Bad(number, "", f"cannot be read: {error}")
                if isinstance(error, UnicodeError):
                    return  # nothing behind it can be found any more
                continue
            if any(cell.strip() for cell in cells):
                yield self._judged(number, cells, source)

    def _judged(self, number: int, cells: list[str], source: str) -> Row | Bad:
        if len(cells) > len(self.columns):
            return Bad(number, "", f"{len(cells)} cells, but the heading names {len(self.columns)} columns: is a delimiter not in quotes?")
        said = {field: cell.strip() for field, cell in zip(self.fields, cells, strict=False) if cell.strip()}
        headings = dict(zip(self.fields, self.columns, strict=True))
        for field, value in said.items():
            if trouble := _trouble(field, value):
                return Bad(number, headings[field], trouble)
        if not {"email", "user_id", "anonymous_id"} & said.keys():
            return Bad(number, "", "neither an address nor a user id: nobody to keep it for")
        return Row(number, _call(said, source))


def opened(path: Path, encoding: str | None = None, mapping: Mapping[str, str] | None = None) -> LeadsFile:
    """Open a file and read its heading. `mapping` says what a column is, by its heading. Raises ConfigurationError with the remedy."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return _understood(path, raw, encoding, mapping or {})
    except (LookupError, UnicodeError, csv.Error) as error:
        raw.close()
        raise ConfigurationError(f"{path}: cannot be read as text ({error}); name its encoding with --encoding") from error
    except ConfigurationError:
        raw.close()
        raise


def _understood(path: Path, raw: BinaryIO, encoding: str | None, mapping: Mapping[str, str]) -> LeadsFile:
    sample = raw.read(SAMPLE)
    raw.seek(0)
    encoding = encoding or encoding_of(sample, whole=len(sample) < SAMPLE)
    delimiter = delimiter_of(sample.decode(encoding, "ignore"))
    csv.field_size_limit(LARGEST_CELL)
    reader = csv.reader(io.TextIOWrapper(raw, encoding=encoding, newline=""), delimiter=delimiter)
    columns = [heading.strip().lstrip("\ufeff") for heading in next(reader, [])]
    return LeadsFile(raw, encoding, delimiter, columns, _fields(path, columns, mapping), reader)


def encoding_of(sample: bytes, *, whole: bool = True) -> str:
    """How a text is written: by its byte order mark, else UTF-8 where it is that, else what its letters look most like."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if sample.startswith(mark):
            return encoding
    try:
        (sample if whole else sample[:-4]).decode()
    except UnicodeDecodeError as error:
        if whole or error.start < len(sample) - 8:
            best = from_bytes(sample, cp_isolation=OLD_ENCODINGS).best()
            return best.encoding if best is not None else "cp1252"
    return "utf-8"


def delimiter_of(text: str) -> str:
    """What parts the heading into the most columns."""
    first = text.splitlines()[:1]
    return max(DELIMITERS, key=lambda delimiter: len(next(csv.reader(first, delimiter=delimiter), [])))


def _fields(path: Path, columns: Sequence[str], mapping: Mapping[str, str]) -> list[str]:
    if strangers := sorted(set(mapping) - set(columns)):
        raise ConfigurationError(f"{path}: there is no column `{strangers[0]}`; it has {', '.join(columns)}")
    fields = [_field(column, mapping.get(column, column)) for column in columns]
    if twice := next((column for column, field in zip(columns, fields, strict=True) if fields.count(field) > 1), None):
        raise ConfigurationError(f"{path}: two columns are `{twice}`; rename one, or say what it is with --map")
    if not {"email", "user_id", "anonymous_id"} & set(fields):
        remedy = 'say which column it is: --map "Contact=email"'
        raise ConfigurationError(f"{path}: no column is `email` or `user_id`; it has {', '.join(columns) or 'none'}. {remedy}")
    return fields


def _field(column: str, said: str) -> str:
    plain = said.strip().lower()
    known = ALSO.get(plain, plain)
    if known in FIELDS:
        return known
    return f"traits.{said.removeprefix('traits.') or column}"


def _trouble(field: str, value: str) -> str | None:
    """What is wrong with a cell; None where nothing is."""
    match field:
        case "email" if address_of(value) is None:
            return f"`{value[:60]}` is no address"
        case "consent" if value.lower() not in YES | NOT:
            return f"`{value[:60]}` is neither yes nor no"
        case "timezone" if not _is_zone(value):
            return f"`{value[:60]}` is no time zone; write it like Europe/Dublin"
        case "user_id" | "anonymous_id" if len(value) > 255:
            return "longer than 255 characters"
    return None


def _is_zone(value: str) -> bool:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _call(said: Mapping[str, str], source: str) -> dict[str, Any]:
    traits: dict[str, Any] = {name: said[name] for name in ("email", "locale", "timezone") if name in said}
    traits |= {field.removeprefix("traits."): value for field, value in said.items() if field.startswith("traits.")}
    if "consent" in said:
        traits["consent"] = {"marketing": said["consent"].lower() in YES, "source": said.get("consent_source", source)}
    call: dict[str, Any] = {"type": "identify", "traits": traits}
    if "user_id" in said or "anonymous_id" not in said:
        call["userId"] = said.get("user_id") or str(address_of(said["email"])).lower()
    if "anonymous_id" in said:
        call["anonymousId"] = said["anonymous_id"]
    if tags := [tag.strip() for tag in said.get("tags", "").replace(";", ",").split(",") if tag.strip()]:
        call["properties"] = {"tags": {"add": tags}}
    return call | {"messageId": message_id(call)}


def message_id(call: Mapping[str, Any]) -> str:
    """The same row is the same call, whichever file it stands in and however often it is sent."""
    return "import-" + blake2b(msgspec.json.encode(call, order="deterministic"), digest_size=16).hexdigest()


def batches(rows: Iterable[Row], most: int, largest: int) -> Iterator[list[Row]]:
    """The rows in parts of at most so many rows and bytes."""
    part: list[Row] = []
    size = 0
    for row in rows:
        weight = len(msgspec.json.encode(row.call)) + 1
        if part and (len(part) >= most or size + weight > largest):
            yield part
            part, size = [], 0
        part.append(row)
        size += weight
    if part:
        yield part
