"""Where an INSERT's data begins and which format a statement names, whatever else it says."""

import pytest

from embedded.clickhouse.errors import ClickHouseError
from embedded.clickhouse.statement import split


@pytest.mark.parametrize(
    ("source", "text", "form", "data"),
    [
        (b"INSERT INTO t FORMAT Native\n\x01\x00\xff", "INSERT INTO t ", "Native", b"\x01\x00\xff"),
        (b"insert into t (a, b) format TSV\n1\t2\n", "insert into t (a, b) ", "TSV", b"1\t2\n"),
        (b"INSERT INTO t FORMAT CSV 1,2", "INSERT INTO t ", "CSV", b"1,2"),
        (b"INSERT INTO t FORMAT CSV;\r\n\n1", "INSERT INTO t ", "CSV", b"\n1"),
        (b"INSERT INTO t VALUES (1, 'FORMAT x')", "INSERT INTO t ", "Values", b" (1, 'FORMAT x')"),
        (b"INSERT INTO `format` (`values`) FORMAT RowBinary", "INSERT INTO `format` (`values`) ", "RowBinary", b""),
        (b'INSERT INTO "a""b" (format, values) VALUES(1)', 'INSERT INTO "a""b" (format, values) ', "Values", b"(1)"),
        (
            b"-- FORMAT a\nINSERT /* VALUES */ INTO t SETTINGS a=1 FORMAT JSONEachRow\n{}",
            "-- FORMAT a\nINSERT /* VALUES */ INTO t SETTINGS a=1 ",
            "JSONEachRow",
            b"{}",
        ),
    ],
)  # fmt: skip
def test_finds_an_inserts_data(source: bytes, text: str, form: str, data: bytes) -> None:
    found = split(source)
    assert (found.text, found.format, found.data, found.verb) == (text, form, data, "INSERT")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            b"INSERT INTO t (a) SELECT f(a) FROM input ('a Int8') WHERE a IN (1) FORMAT Avro\n\xff(",
            "INSERT INTO t (a) SELECT f(a) FROM file('f', 'Avro', 'a Int8') WHERE a IN (1) ",
        ),
        (
            b"insert into t with 1 as x select x from (select * from INPUT('a b')) format CSV\n\xff(",
            "insert into t with 1 as x select x from (select * from file('f', 'CSV', 'a b')) ",
        ),
    ],
)
def test_a_select_may_read_the_data(source: bytes, text: str) -> None:
    found = split(source)
    assert (found.data, found.from_file("'f'")) == (b"\xff(", text)


@pytest.mark.parametrize(
    "source",
    [
        b"INSERT INTO t SELECT 1",
        b"INSERT INTO t (a) WITH 1 AS x SELECT x FORMAT Null",
        b"INSERT INTO t SELECT * FROM values('input Int8', (1)) FORMAT Null",
        b"INSERT INTO t SELECT input FROM input",
    ],
)
def test_an_insert_from_a_select_has_no_data(source: bytes) -> None:
    assert split(source).data is None


@pytest.mark.parametrize(
    ("source", "form"),
    [
        (b"SELECT 1", None),
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"SELECT 1 format JSON;", "JSON"),
        (b"SELECT 1 FORMAT JSON -- done\n", "JSON"),
        (b"SELECT 1 FORMAT CSV SETTINGS max_threads = 1", "CSV"),
        (b"SELECT 'FORMAT JSON'", None),
        (b"SELECT format FROM t", None),
        (b"SELECT a$b$c FROM t FORMAT CSV", "CSV"),
        (b"SELECT $$ FORMAT JSON $$", None),
        (b"SELECT 1 /* FORMAT JSON */", None),
        (b"SELECT format(a, b) FROM t FORMAT Vertical", "Vertical"),
    ],
)
def test_finds_the_output_format(source: bytes, form: str | None) -> None:
    assert split(source).format == form


@pytest.mark.parametrize(
    ("source", "reads"),
    [(b" select 1", True), (b"(SELECT 1)", True), (b"WITH 1 AS a SELECT a", True), (b"SHOW TABLES", False)],
)
def test_knows_a_select(source: bytes, reads: bool) -> None:
    assert split(source).reads is reads


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (b"", 62),
        (b"  -- nothing\n", 62),
        (b"INSERT INTO t", 62),
        (b"INSERT INTO t FORMAT", 62),
        (b"SELECT '\xff\xfe'", 62),
        (b"INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", 358),
    ],
)
def test_refuses(source: bytes, code: int) -> None:
    with pytest.raises(ClickHouseError) as caught:
        split(source)
    assert caught.value.code == code


def test_values_can_become_one_text_again() -> None:
    assert split(b"INSERT INTO t (a) VALUES ({x:Int8})").inline().text == "INSERT INTO t (a)  VALUES  ({x:Int8})"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (b"INSERT INTO t (a, b) FORMAT CSV\n1,2", "INSERT INTO t (a, b) FROM INFILE 'f' COMPRESSION 'none' FORMAT CSV"),
        (b"INSERT INTO t VALUES (1)", "INSERT INTO t FROM INFILE 'f' COMPRESSION 'none' FORMAT Values"),
        (
            b"INSERT INTO t SETTINGS x = 1, y='a' FORMAT CSV\n1",
            "INSERT INTO t FROM INFILE 'f' COMPRESSION 'none' SETTINGS x = 1, y='a' FORMAT CSV",
        ),
        (
            b"INSERT INTO settings SETTINGS x=1 VALUES (1)",
            "INSERT INTO settings FROM INFILE 'f' COMPRESSION 'none' SETTINGS x=1 FORMAT Values",
        ),
        (
            b"INSERT INTO settings (settings) FORMAT TSV\nsettings = 1",
            "INSERT INTO settings (settings) FROM INFILE 'f' COMPRESSION 'none' FORMAT TSV",
        ),
    ],
)
def test_data_can_be_read_as_from_a_file(source: bytes, text: str) -> None:
    """The engine wants SETTINGS behind the file."""
    assert " ".join(split(source).from_file("'f'").split()) == text


def test_takes_no_longer_than_it_should_on_hostile_input() -> None:
    for hostile in (
        b"'" * 200_001,
        b"/* " * 100_000,
        b"$" * 100_001,
        b"$a$ " * 100_000,
        b'`"' * 100_000,
        b"(" * 200_000,
    ):
        split(b"SELECT " + hostile)
