"""CSV files of leads, as spreadsheets write them."""

from pathlib import Path
from typing import Any

import pytest

from dripline.leads_file import Bad, Row, batches, encoding_of, opened
from shared.errors import ConfigurationError

PEOPLE = (
    "email,name,city\nzahra@example.com,زهرا کریمی,تهران\n"
    "omar@example.com,عمر السيد,القاهرة\nsaoirse@example.com,Saoirse Ní Bhriain,Dún Laoghaire\n"
)
ARABIC = "email;name;city\n" + "".join(
    f"a{number}@example.com;{name};{city}\n"
    for number, (name, city) in enumerate(
        [("محمد عبد الله", "القاهرة"), ("فاطمة الزهراء", "بيروت"), ("خالد بن الوليد", "الرياض"), ("مريم حسن", "دمشق")]
    )
)


def rows(folder: Path, content: str | bytes, **options: Any) -> list[Row | Bad]:
    file = folder / "leads.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    leads = opened(file, **options)
    with leads.raw:
        return list(leads.rows("import:leads.csv"))


def calls(folder: Path, content: str | bytes, **options: Any) -> list[dict[str, Any]]:
    found = rows(folder, content, **options)
    assert [row for row in found if isinstance(row, Bad)] == []
    return [dict(row.call) for row in found if isinstance(row, Row)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "utf-16-be-bom"])
def test_names_survive_every_kind_of_unicode(tmp_path: Path, encoding: str):
    marks = {"utf-16-le-bom": (b"\xff\xfe", "utf-16-le"), "utf-16-be-bom": (b"\xfe\xff", "utf-16-be")}
    mark, plain = marks.get(encoding, (b"", encoding))
    names = [call["traits"]["name"] for call in calls(tmp_path, mark + PEOPLE.encode(plain))]
    assert names == ["زهرا کریمی", "عمر السيد", "Saoirse Ní Bhriain"]


def test_what_an_arabic_spreadsheet_writes_is_read(tmp_path: Path):
    found = calls(tmp_path, ARABIC.encode("cp1256"))
    assert [(call["traits"]["name"], call["traits"]["city"]) for call in found][:2] == [
        ("محمد عبد الله", "القاهرة"),
        ("فاطمة الزهراء", "بيروت"),
    ]


def test_an_encoding_that_is_named_is_not_guessed(tmp_path: Path):
    (call,) = calls(tmp_path, "email,name\na@example.com,Zoë\n".encode("cp1252"), encoding="cp1252")
    assert call["traits"]["name"] == "Zoë"
    with pytest.raises(ConfigurationError, match="name its encoding with --encoding"):
        rows(tmp_path, "email\na@example.com\n", encoding="utf-99")


def test_utf_8_cut_in_the_midst_of_a_letter_is_still_utf_8():
    assert encoding_of("é".encode() * 100 + b"\xc3", whole=False) == "utf-8"
    assert encoding_of(b"abc") == "utf-8"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_out(tmp_path: Path, delimiter: str):
    content = "email,name,note\na@example.com,Ana,x\n".replace(",", delimiter)
    assert calls(tmp_path, content)[0]["traits"] == {"email": "a@example.com", "name": "Ana", "note": "x"}


def test_quotes_hold_delimiters_and_lines(tmp_path: Path):
    (call,) = calls(tmp_path, 'email,note\na@example.com,"one, two\nthree ""four"""\n')
    assert call["traits"]["note"] == 'one, two\nthree "four"'


def test_known_columns_have_their_place_and_the_others_are_traits(tmp_path: Path):
    heading = "User ID,E-Mail,Consent,consent_source,Locale,Timezone,Tags,traits.tier,Company size\n"
    (call,) = calls(tmp_path, heading + "u7,Ana@Example.com,yes,fair 2026,fa-IR,Asia/Tehran,vip; tea,gold,007\n")
    assert call.pop("messageId").startswith("import-")
    assert call == {
        "type": "identify",
        "userId": "u7",
        "traits": {
            "email": "Ana@Example.com",
            "locale": "fa-IR",
            "timezone": "Asia/Tehran",
            "tier": "gold",
            "Company size": "007",
            "consent": {"marketing": True, "source": "fair 2026"},
        },
        "properties": {"tags": {"add": ["vip", "tea"]}},
    }


def test_without_a_user_id_the_address_is_one_and_consent_names_the_file(tmp_path: Path):
    (call,) = calls(tmp_path, "Contact,consent\nAna@Example.com,نعم\n", mapping={"Contact": "email"})
    assert (call["userId"], call["traits"]["consent"]) == ("ana@example.com", {"marketing": True, "source": "import:leads.csv"})


def test_a_bad_row_is_named_with_row_and_column_and_spoils_no_other(tmp_path: Path):
    found = rows(
        tmp_path,
        "email,consent,timezone\na@example.com,yes,\nnot an address,,\n\nb@example.com,maybe,\nc@example.com,no,Mars/Base\n,yes,\n"
        "d@example.com,yes,,,\ne@example.com,,\n",
    )
    assert [str(row) for row in found if isinstance(row, Bad)] == [
        "row 3, column email: `not an address` is no address",
        "row 5, column consent: `maybe` is neither yes nor no",
        "row 6, column timezone: `Mars/Base` is no time zone; write it like Europe/Dublin",
        "row 7: neither an address nor a user id: nobody to keep it for",
        "row 8: 5 cells, but the heading names 3 columns: is a delimiter not in quotes?",
    ]
    assert [row.number for row in found if isinstance(row, Row)] == [2, 9]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("name,city\nAna,Dublin\n", "no column is `email` or `user_id`; it has name, city"),
        ("email,E-Mail\na@b.ie,a@b.ie\n", "two columns are `email`"),
        ("", "it has none"),
    ],
)
def test_a_heading_that_says_too_little_is_refused_with_the_remedy(tmp_path: Path, content: str, why: str):
    with pytest.raises(ConfigurationError, match=why):
        rows(tmp_path, content)


def test_the_same_row_is_the_same_call(tmp_path: Path):
    one, again, other = (row.call["messageId"] for row in rows(tmp_path, "email,n\na@b.ie,1\na@b.ie,1\na@b.ie,2\n") if isinstance(row, Row))
    assert one == again != other


def test_parts_hold_to_their_sizes():
    many = [Row(number, {"n": "x" * 100}) for number in range(10)]
    assert [len(part) for part in batches(many, 4, 10_000)] == [4, 4, 2]
    assert [len(part) for part in batches(many, 100, 250)] == [2] * 5
