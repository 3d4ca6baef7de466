"""What commands say of servers that are away."""

from urllib.parse import urlsplit

import pytest
from aiokafka.errors import KafkaConnectionError
from clickhouse_connect.driver.exceptions import DatabaseError

from cli import forget
from cli.failures import FAILURES, sentence
from embedded.place import free_port
from runtime.settings import load
from sinks.clickhouse import Unreachable, _silence, connect


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unreachable("ClickHouse is away"), "ClickHouse is away"),
        (KafkaConnectionError("it is away"), "Kafka at k:1 does not answer: KafkaConnectionError: it is away"),
        (DatabaseError("out of memory"), "ClickHouse at http://c:2 cannot answer: out of memory"),
    ],
)
def test_every_failure_is_a_sentence(error: Exception, said: str) -> None:
    assert isinstance(error, FAILURES)
    assert sentence(load(kafka="k:1", clickhouse="http://c:2"), error) == said


def test_a_refused_connection_is_said_in_few_words() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable, match=rf"^ClickHouse at {address} does not answer: .{{0,40}}$"):
        connect(load(clickhouse=address))


@pytest.mark.parametrize("host", ["a..b", "a b", "a" * 64])
def test_a_name_that_is_none_is_said_too(host: str) -> None:
    with pytest.raises(Unreachable, match=rf"^ClickHouse at http://{host}:1 does not answer: .*{host}"):
        connect(load(clickhouse=f"http://{host}:1"))


def test_behind_a_proxy_the_client_finds_out(monkeypatch: pytest.MonkeyPatch) -> None:
    url = urlsplit(f"http://127.0.0.1:{free_port()}")
    assert _silence(url) != ""
    monkeypatch.setenv("http_proxy", "http://proxy:1")
    assert _silence(url) == ""


def test_forget_says_in_a_line_that_kafka_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    assert forget.run(load(kafka=nobody, clickhouse=f"http://{nobody}"), player="p") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Kafka at {nobody} does not answer")
