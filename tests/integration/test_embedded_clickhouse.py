"""The embedded ClickHouse over plain HTTP, as curl and BI tools speak it: what the real server's documents promise."""

import gzip
import json
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cramjam
import pytest
import requests
from requests.auth import HTTPBasicAuth

from embedded.clickhouse import ClickHouse
from embedded.clickhouse.coding import CODECS
from runtime.settings import load

SLOW = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    settings = load(
        clickhouse_password="secret é",
        analyst_password="reader",
        analyst_memory=50 * 1024 * 1024,
        analyst_seconds=3,
        clickhouse_body=4 * 1024 * 1024,
    )
    with_space = tmp_path_factory.mktemp("click house")
    server = ClickHouse(with_space, settings=settings)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def ask(server: ClickHouse, namespace: str) -> Callable[..., requests.Response]:
    """A POST by the writing account, in a database of the test's own."""
    account: Any = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": "secret é".encode()}

    def post(body: str | bytes = b"", *, headers: Any = None, **params: Any) -> requests.Response:
        body = body.encode() if isinstance(body, str) else body
        return requests.post(server.address, body, params=params, headers=own | (headers or {}), timeout=60)

    own: Any = {**account, "X-ClickHouse-Database": namespace}
    created = requests.post(server.address, f"CREATE DATABASE {namespace}".encode(), headers=account, timeout=60)
    assert created.status_code == 200, created.text
    return post


def test_says_that_it_is_there(server: ClickHouse) -> None:
    for path in ("/ping", "/replicas_status", "/"):
        answer = requests.get(server.address + path, auth=HTTPBasicAuth("analyst", "reader"), timeout=30)
        assert (answer.status_code, answer.text) == (200, "Ok.\n")
    assert requests.get(server.address + "/nothing", timeout=30).status_code == 404
    assert requests.post(server.address + "/_fault", json={}, timeout=30).status_code == 404


def test_takes_a_query_by_url_by_body_and_by_both(ask: Callable[..., requests.Response]) -> None:
    assert ask(query="SELECT 1").text == "1\n"
    assert ask("SELECT 2").text == "2\n"
    assert ask("+ 3", query="SELECT 1").text == "4\n"


def test_answers_in_every_format_and_says_which(ask: Callable[..., requests.Response]) -> None:
    answer = ask("SELECT 1 AS a, 'x' AS b FORMAT JSON", default_format="CSV")
    assert answer.json()["data"] == [{"a": 1, "b": "x"}]
    assert answer.headers["X-ClickHouse-Format"] == "JSON"
    assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert ask("SELECT 1, 'x'", default_format="CSV").text == '1,"x"\n'
    assert ask("SELECT 1, 'x'", headers={"X-ClickHouse-Format": "JSONCompactEachRow"}).text == '[1, "x"]\n'
    assert ask("SELECT 1 AS a FORMAT Parquet").content[:4] == b"PAR1"
    assert ask("SELECT 1 AS a FORMAT Markdown").text == "| a |\n|-:|\n| 1 |\n"
    assert ask("SELECT 1 FORMAT Nonsense").status_code == 404


def test_plain_queries_of_a_bi_tool(ask: Callable[..., requests.Response], namespace: str) -> None:
    ask("CREATE TABLE t (a UInt8 COMMENT 'first', b String) ENGINE = MergeTree ORDER BY a COMMENT 'a table'")
    assert ask("SHOW TABLES").text == "t\n"
    assert namespace in ask("SHOW DATABASES").text
    assert ask("DESCRIBE t").text.splitlines()[0].split("\t")[:2] == ["a", "UInt8"]
    columns = f"SELECT name, type, comment FROM system.columns WHERE database = '{namespace}' ORDER BY position"
    assert ask(columns).text == "a\tUInt8\tfirst\nb\tString\t\n"
    assert ask(f"SELECT comment FROM system.tables WHERE database = '{namespace}'").text == "a table\n"
    assert ask("EXISTS TABLE t").text == "1\n"
    assert ask("SELECT table_name FROM information_schema.tables WHERE table_schema = currentDatabase()").text == "t\n"


def test_inserts_by_url_and_body_in_any_format(ask: Callable[..., requests.Response]) -> None:
    ask("CREATE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a")
    answer = ask("1\tx\n2\ty\n", query="INSERT INTO t FORMAT TabSeparated")
    assert json.loads(answer.headers["X-ClickHouse-Summary"])["written_rows"] == "2"
    ask('INSERT INTO t FORMAT JSONEachRow\n{"a": 3, "b": "z"}')
    ask("(4, 'v;'), (5, 'FORMAT')", query="INSERT INTO t (a, b) VALUES")
    ask("INSERT INTO t SELECT 6, 's'")
    ask("INSERT INTO t VALUES ({n:UInt32}, {s:String})", param_n="7", param_s="it's")
    ask("9\n", query="INSERT INTO t SELECT x + 1, 'i' FROM input('x UInt32') WHERE x > 1 FORMAT TSV")
    native = ask("SELECT 8 :: UInt32 AS a, 'n' AS b FORMAT Native").content
    ask(b"INSERT INTO t FORMAT Native\n" + native)
    assert ask("SELECT * FROM t ORDER BY a FORMAT CSV").text == (
        '1,"x"\n2,"y"\n3,"z"\n4,"v;"\n5,"FORMAT"\n6,"s"\n7,"it\'s"\n8,"n"\n10,"i"\n'
    )


def test_an_error_may_quote_bytes_that_are_no_text(ask: Callable[..., requests.Response]) -> None:
    answer = ask("SELECT throwIf(1, '\\xff\\xfe')")
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (500, "395")


def test_an_insert_is_whole_or_not_at_all(ask: Callable[..., requests.Response]) -> None:
    ask("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
    rows = "".join(f"{n}\n" for n in range(50_000))
    answer = ask(rows + "no number\n", query="INSERT INTO t FORMAT TSV")
    assert answer.status_code == 400
    assert ask("SELECT count() FROM t").text == "0\n"


FORMATS = (
    "Native", "RowBinary", "RowBinaryWithNamesAndTypes", "JSONEachRow", "JSONCompactEachRow", "CSV", "TSV", "Values",
    "Parquet",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
def test_an_error_behind_the_parser_is_told(ask: Callable[..., requests.Response], form: str) -> None:
    """The library's own way of inserting keeps such errors to itself: an insert would be acknowledged and lost."""
    columns = "a UInt8, b String, c UInt8 DEFAULT 9, CONSTRAINT few CHECK a < 3"
    ask(f"CREATE TABLE one ({columns}) ENGINE = MergeTree ORDER BY a")
    rows = "SELECT toUInt8(number) AS a, concat('semi;colon ', toString(number)) AS b FROM numbers({}) FORMAT {}"
    insert = f"INSERT INTO one (a, b) FORMAT {form}"
    answer = ask(ask(rows.format(5, form)).content, query=insert)
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (500, "469"), answer.text
    assert "VIOLATED_CONSTRAINT" in answer.text
    assert ask("SELECT count() FROM one").text.strip() == "0"
    answer = ask(ask(rows.format(2, form)).content, query=insert)
    assert answer.ok, answer.text
    assert json.loads(answer.headers["X-ClickHouse-Summary"])["written_rows"] == "2"
    assert ask("SELECT * FROM one ORDER BY a FORMAT CSV").text == '0,"semi;colon 0",9\n1,"semi;colon 1",9\n'
    answer = ask(b'{"a": "no number"', query=insert)
    assert int(answer.headers["X-ClickHouse-Exception-Code"]) > 0
    assert ask("SELECT count() FROM one").text.strip() == "2"


def test_settings_in_an_insert_are_the_inserts(ask: Callable[..., requests.Response]) -> None:
    ask("CREATE TABLE t (a UInt8, b String) ENGINE = MergeTree ORDER BY a")
    answer = ask(
        '{"a": 1, "other": 2}', query="INSERT INTO t SETTINGS input_format_skip_unknown_fields = 0 FORMAT JSONEachRow"
    )
    assert answer.headers["X-ClickHouse-Exception-Code"] == "117"
    assert ask('{"a": 1, "other": 2}', query="INSERT INTO t FORMAT JSONEachRow").ok
    assert ask("(2, 'x')", query="INSERT INTO t SETTINGS async_insert = 0 VALUES").ok
    assert ask("SELECT count() FROM t").text == "2\n"


def test_settings_apply_to_their_request_alone(ask: Callable[..., requests.Response]) -> None:
    assert ask("SELECT getSetting('max_threads')", max_threads="3").text == "3\n"
    assert ask("SELECT getSetting('max_threads')", max_threads="1").text == "1\n"
    ask("SET max_threads = 7")
    assert ask("SELECT getSetting('max_threads') = 7", session_id="s").text == "0\n"
    refused = ask("SELECT 1", no_such_setting="1")
    assert (refused.status_code, refused.headers["X-ClickHouse-Exception-Code"]) == (404, "115")
    ask("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 10")
    for value in ("1", "2"):
        ask(value, query="INSERT INTO t FORMAT TSV", insert_deduplication_token="same")
    assert ask("SELECT count() FROM t").text == "1\n"


def test_parameters_are_values_never_sql(ask: Callable[..., requests.Response]) -> None:
    assert ask("SELECT {s:String}", param_s="'; DROP TABLE t; --").text == "\\'; DROP TABLE t; --\n"
    assert ask("SELECT {a:Array(UInt8)}[2]", param_a="[1,2]").text == "2\n"
    assert ask("SELECT {n:Nullable(String)} IS NULL", param_n="\\N").text == "1\n"
    assert ask("SELECT {x:UInt8}", param_x="abc").headers["X-ClickHouse-Exception-Code"] == "457"
    assert ask("SELECT {x:UInt8}").headers["X-ClickHouse-Exception-Code"] == "456"


def test_parameters_too_long_for_a_url_come_in_a_form(server: ClickHouse) -> None:
    account = HTTPBasicAuth(b"default", b"secret \xc3\xa9")

    def post(url: str = "", **fields: tuple[str | None, str | bytes]) -> requests.Response:
        return requests.post(server.address + url, files=fields, auth=account, timeout=60)

    odd = "--b'\\\\ü\x85 \x0c" * 2000
    query = (None, "SELECT {s:String} FORMAT RawBLOB")
    assert post(query=query, param_s=(None, odd)).content == odd.replace("\\\\", "\\").encode()
    assert post("?param_s=url", query=query, param_s=(None, "form")).text == "url"
    long = post(query=query, param_s=(None, "x" * (128 * 1024 + 1)))
    assert long.headers["X-ClickHouse-Exception-Code"] == "1000", long.text
    url = requests.post(f"{server.address}?param_s={'%20' * 50_000}", "SELECT {s:String}", auth=account, timeout=60)
    assert url.headers["X-ClickHouse-Exception-Code"] == "1000", url.text
    assert post(query=query, t=("t.csv", b"1")).headers["X-ClickHouse-Exception-Code"] == "48"
    broken = {"Content-Type": "multipart/form-data; boundary=b"}
    part = '--b\r\nContent-Disposition: form-data; name="query"\r\n\r\n'
    for body, code in (
        ("SELECT 1", "36"),
        ("", "36"),
        (part + "SELECT 1", "36"),  # half of one
        (part + "SELECT 1\r\n--b\r\nx\r\n--b--", "36"),
        (part.replace("; name", "; " + "x" * 10_000 + "; name") + "SELECT 1\r\n--b--", "36"),
        ((part + "SELECT 1\r\n") * 1001 + "--b--", "1000"),
        ("--b\r\n\r\n" * 100_000, "1000"),  # a parser of mail takes a minute
        ((part + "SELECT 1\r\n") * 1000 + "--b--\r\nwhat follows is nothing", None),
    ):
        answer = requests.post(server.address, body, headers=broken, auth=account, timeout=60)
        assert answer.headers.get("X-ClickHouse-Exception-Code") == code, (body[:100], answer.text)


def test_databases(ask: Callable[..., requests.Response], namespace: str) -> None:
    assert ask("SELECT currentDatabase()").text == f"{namespace}\n"
    answer = ask("SELECT currentDatabase()", headers={"X-ClickHouse-Database": ""}, database="system")
    assert answer.text == "system\n"
    assert ask("SELECT 1", headers={"X-ClickHouse-Database": "a`b"}).headers["X-ClickHouse-Exception-Code"] == "81"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, 62),
        ("SELEC 1", 400, 62),
        ("SELECT 1; SELECT 2", 400, 62),
        ("SELECT * FROM no_table", 404, 60),
        ("SELECT no_column", 404, 47),
        ("SELECT no_function(1)", 404, 46),
        ("INSERT INTO no_table VALUES (1)", 404, 60),
        ("SELECT throwIf(1)", 500, 395),
        ("SELECT toUInt8('x')", 400, 6),
        ("SELECT 1 INTO OUTFILE '/tmp/never'", 500, 358),
        ("INSERT INTO FUNCTION file('never.csv') FROM INFILE 'x'", 500, 358),
    ],
)
def test_errors_have_clickhouses_codes_and_status(
    ask: Callable[..., requests.Response], query: str, status: int, code: int
) -> None:
    answer = ask(query) if query else ask(" ")
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")


@pytest.mark.parametrize("encoding", sorted(CODECS))
def test_compressed_bodies_both_ways(ask: Callable[..., requests.Response], encoding: str) -> None:
    ask("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
    rows = b"".join(b"%d\n" % n for n in range(20_000))
    packed = bytes(CODECS[encoding].compress(rows))
    answer = ask(packed, query="INSERT INTO t FORMAT TSV", headers={"Content-Encoding": encoding})
    assert answer.status_code == 200, answer.text
    if encoding in ("gzip", "deflate"):  # what requests unpacks by itself
        for form in ("TSV", "JSONStringsEachRow"):
            read = ask(
                f"SELECT a FROM t ORDER BY a FORMAT {form}",
                headers={"Accept-Encoding": encoding},
                enable_http_compression=1,
            )
            assert read.headers["Content-Encoding"] == encoding
            assert len(read.text.splitlines()) == 20_000
    bad = ask(packed[:-5], query="INSERT INTO t FORMAT TSV", headers={"Content-Encoding": encoding})
    assert bad.headers["X-ClickHouse-Exception-Code"] == "271"
    assert ask("SELECT count() FROM t").text == "20000\n"


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "br", "gzip", "deflate"])
def test_a_compressed_answer_in_pieces_is_one_stream(server: ClickHouse, encoding: str) -> None:
    params: Any = {"query": "SELECT number FROM numbers(300000) FORMAT TSV", "enable_http_compression": 1}
    answer = requests.get(
        server.address,
        params=params,
        headers={"Accept-Encoding": f"{encoding}, xz;q=0"},
        auth=HTTPBasicAuth(b"default", "secret é".encode()),
        stream=True,
        timeout=60,
    )
    assert answer.headers["Content-Encoding"] == encoding
    unpack = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(encoding, CODECS[encoding].decompress)
    assert bytes(unpack(answer.raw.read())) == b"".join(b"%d\n" % n for n in range(300_000))


def test_a_body_is_bounded_as_sent_and_as_unpacked(ask: Callable[..., requests.Response]) -> None:
    assert ask(b"x" * (4 * 1024 * 1024 + 1)).status_code == 413
    bomb = bytes(cramjam.gzip.compress(b"0" * (64 * 1024 * 1024)))
    assert ask(bomb, headers={"Content-Encoding": "gzip"}).status_code == 413
    assert ask("SELECT 1", headers={"Content-Encoding": "rot13"}).headers["X-ClickHouse-Exception-Code"] == "89"
    assert ask("SELECT 1", compress=1).status_code == 501


def test_accounts_by_header_basic_and_url(server: ClickHouse) -> None:
    url = server.address
    assert requests.post(url, "SELECT 1", timeout=30).status_code == 403
    assert requests.post(url, "SELECT 1", auth=("analyst", "reader"), timeout=30).text == "1\n"
    assert requests.post(url, "SELECT 1", params={"user": "analyst", "password": "reader"}, timeout=30).text == "1\n"
    key = {"X-ClickHouse-User": "analyst", "X-ClickHouse-Key": "reader"}
    assert requests.post(url, "SELECT 1", headers=key, timeout=30).text == "1\n"
    for wrong in (("analyst", ""), ("nobody", "reader"), ("default", "reader")):
        refused = requests.post(url, "SELECT 1", auth=wrong, timeout=30)
        assert (refused.status_code, refused.headers["X-ClickHouse-Exception-Code"]) == (403, "516")
    assert requests.post(url, "SELECT 1", headers={"Authorization": "Basic ?"}, timeout=30).status_code == 403


@pytest.mark.parametrize(
    "query",
    [
        "CREATE TABLE x (a Int8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE x (a Int8)",
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t FORMAT TSV\n1",
        "INSERT INTO t SELECT 1",
        "ALTER TABLE t DELETE WHERE 1",
        "DROP DATABASE system",
        "SYSTEM FLUSH LOGS",
        "KILL QUERY WHERE 1",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SELECT file('/etc/passwd')",
        "SELECT /* */ `file` /* */ ('/etc/passwd') FORMAT Null",
        "SELECT arrayMap(file, ['/etc/passwd'])",
        "SELECT * APPLY file FROM (SELECT '/etc/passwd' AS a)",
        "DESCRIBE file('/etc/passwd')",
        "EXPLAIN SELECT * FROM file('/etc/passwd')",
        "SELECT 1 WHERE 'a' IN (SELECT * FROM File('/etc/passwd', 'LineAsString'))",
        "SELECT * FROM s3('http://127.0.0.1:1/bucket/key', 'CSV')",
        "SELECT * FROM Python(accounts)",
        "SELECT * FROM eval('SELECT 1')",
        "SELECT 1 SETTINGS max_execution_time = 1000",
        "SET readonly = 0",
        "BACKUP DATABASE system TO Disk('a', 'b')",
    ],
)
def test_an_analyst_only_reads(server: ClickHouse, query: str) -> None:
    answer = requests.post(server.address, query, auth=("analyst", "reader"), timeout=30)
    assert answer.headers["X-ClickHouse-Exception-Code"] == "164", answer.text


def test_no_parameter_smuggles_a_function_in(server: ClickHouse) -> None:
    def ask(query: str, **params: str) -> requests.Response:
        return requests.post(server.address, query, auth=("analyst", "reader"), params=params, timeout=30)

    hidden = ask("SELECT arrayMap({f:Identifier}, ['/etc/passwd'])", param_f="`file`")
    assert "root" not in hidden.text
    assert hidden.status_code != 200
    assert ask("SELECT {s:String}", param_s="file").text == "file\n"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 'file(''/etc/passwd'')' AS a, \"b\".c FROM (SELECT 1 AS c) AS b",
        "SELECT sum(number) FROM numbers(10)",
        "SELECT * FROM values('a Int8', 1, 2)",
        "WITH 'a\\tb\\'c' AS x SELECT x, $$\n$$",
        "SHOW TABLES FROM system LIKE 'c%'",
        "DESCRIBE system.columns",
        "EXPLAIN SELECT 1",
    ],
)
def test_an_analyst_reads_everything_else(server: ClickHouse, query: str) -> None:
    answer = requests.post(server.address, query, auth=("analyst", "reader"), timeout=30)
    assert answer.status_code == 200, answer.text


def test_nothing_gets_into_the_answers_headers(ask: Callable[..., requests.Response]) -> None:
    answer = ask("SELECT 1", query_id="a\r\nX-Evil: 1", default_format="JSON\r\nX-Evil: 1")
    assert answer.headers["X-ClickHouse-Exception-Code"] == "73"
    assert "X-Evil" not in answer.headers
    assert ask("SELECT 1", query_id="mine").headers["X-ClickHouse-Query-Id"] == "mine"


def test_its_clock_is_utc(ask: Callable[..., requests.Response]) -> None:
    answer = ask("SELECT timezone()")
    assert (answer.text, answer.headers["X-ClickHouse-Timezone"]) == ("UTC\n", "UTC")


def test_an_analysts_queries_are_limited(server: ClickHouse) -> None:
    def ask(query: str, **params: str) -> str | None:
        answer = requests.post(server.address, query, auth=("analyst", "reader"), params=params, timeout=30)
        return answer.headers.get("X-ClickHouse-Exception-Code")

    assert ask(SLOW) == "159"
    assert ask("SELECT length(groupArray(number)) FROM numbers(1000000000)") == "241"
    assert ask("SELECT 1", max_memory_usage="0") == "164"
    assert ask("SELECT 1", readonly="0") == "164"
    assert ask("SELECT count() FROM system.tables") is None


def test_a_get_writes_nothing(ask: Callable[..., requests.Response], server: ClickHouse) -> None:
    def get(query: str) -> requests.Response:
        credentials = {"user": "default", "password": "secret é"}
        return requests.get(server.address, params={"query": query, **credentials}, timeout=30)

    assert get("CREATE DATABASE by_get").headers["X-ClickHouse-Exception-Code"] == "164"
    assert get("SELECT 1").text == "1\n"


def test_web_pages_from_elsewhere_get_nothing(server: ClickHouse) -> None:
    auth = ("analyst", "reader")
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
        assert requests.post(server.address, "SELECT 1", auth=auth, headers=headers, timeout=30).status_code == 403
    same = {"Origin": server.address}
    assert requests.post(server.address, "SELECT 1", auth=auth, headers=same, timeout=30).text == "1\n"


def test_long_queries_hold_up_neither_reads_nor_inserts(ask: Callable[..., requests.Response]) -> None:
    ask("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
    with ThreadPoolExecutor(6) as threads:
        slow = [threads.submit(ask, SLOW, max_execution_time=4, max_threads=1) for _ in range(6)]
        time.sleep(0.5)
        for n in range(5):
            assert ask(f"{n}\n", query="INSERT INTO t FORMAT TSV").status_code == 200
        assert ask("SELECT count() FROM t").text == "5\n"
        assert not any(query.done() for query in slow)
        assert {query.result().headers["X-ClickHouse-Exception-Code"] for query in slow} == {"159"}


@pytest.mark.parametrize("form", ["TSV", "JSON"])
def test_a_query_whose_client_goes_away_is_cancelled(ask: Callable[..., requests.Response], form: str) -> None:
    with pytest.raises(requests.Timeout):
        _impatient(ask, f"{SLOW} AND 'tag{form}' != '' FORMAT {form}")
    running = f"SELECT count() FROM system.processes WHERE query LIKE '%tag{form}%' AND query NOT LIKE '%processes%'"
    _await(lambda: ask(running).text == "0\n")


def _impatient(ask: Callable[..., requests.Response], query: str) -> None:
    post = requests.Session.request

    def hurried(self: requests.Session, *args: object, **kwargs: object) -> requests.Response:
        return post(self, *args, **{**kwargs, "timeout": 1})  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests.Session, "request", hurried)
        ask(query)


def _await(condition: Callable[[], bool], limit: float = 60) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_error_late_in_a_streamed_answer_is_marked(ask: Callable[..., requests.Response]) -> None:
    late = "SELECT number, throwIf(number = 2000000) FROM numbers(3000000) SETTINGS max_threads = 1 FORMAT TSV"
    answer = ask(late)
    assert answer.status_code == 200
    tag = answer.headers["X-ClickHouse-Exception-Tag"]
    assert answer.text.endswith(f" {tag}\r\n__exception__\r\n")
    assert "Code: 395" in answer.text[-1000:]
    assert ask(late, wait_end_of_query=1).status_code == 500


def test_curl(server: ClickHouse) -> None:
    command = ["curl", "-sS", "-m", "10", "--user", "analyst:reader", server.address, "-d", "SELECT version()"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.startswith("26.")


def test_many_at_once(ask: Callable[..., requests.Response]) -> None:
    ask("CREATE TABLE t (a UInt32, b UInt32) ENGINE = MergeTree ORDER BY a")
    failures: list[str] = []

    def work(writer: int) -> None:
        for n in range(20):
            answer = ask(f"{writer}\t{n}\n", query="INSERT INTO t FORMAT TSV")
            read = ask(f"SELECT count() FROM t WHERE a = {writer}")
            if answer.status_code != 200 or read.text != f"{n + 1}\n":
                failures.append(answer.text + read.text)

    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert ask("SELECT count() FROM t").text == "160\n"


def test_a_second_server_on_the_folder_is_refused(server: ClickHouse, tmp_path: Path) -> None:
    from embedded.place import PlaceError

    second = ClickHouse(server.folder)
    second._claim_wait = 0
    with pytest.raises(PlaceError, match="is in use by another process"):
        second.start()
    other = ClickHouse(tmp_path, server.port)
    with pytest.raises(PlaceError, match="--clickhouse-port"):
        other.start()
