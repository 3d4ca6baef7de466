"""`sluice keys` on a real Kafka."""

import asyncio
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.keys import DEMO_KEYS, demo_key
from cli.main import main
from embedded.place import free_port
from runtime.settings import load
from schemas.registry import API_KEY
from schemas.topics import CONTROL_KEYS
from tests.kafka import create_topics, produce_records, read_all


@pytest.fixture(scope="module")
def keys_topic(kafka: str) -> str:
    """The shared Kafka with control.keys on it."""
    config: Any = CONTROL_KEYS.config()
    create_topics(kafka, [CONTROL_KEYS.name], 1, **config)
    return kafka


class Sluice:
    def __init__(self, kafka: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._common = ("--kafka", kafka, "--data-dir", str(folder))
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(("keys", *arguments, *self._common))
        output = self._capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err


@pytest.fixture
def sluice(keys_topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Sluice:
    return Sluice(keys_topic, tmp_path, capsys)


def test_create_list_and_revoke(sluice: Sluice, keys_topic: str, namespace: str) -> None:
    code, output, _ = sluice(
        "create", "--tenant", namespace, "--tier", "pro", "--limit", "0", "--dialects", "scrip, absinthe", "--json"
    )
    made = json.loads(output)
    assert code == 0
    assert list(made) == ["id", "key", "tenant"]
    assert made["tenant"] == namespace
    assert len(made["id"]) <= 12

    def row() -> dict[str, object]:
        (found,) = [row for row in json.loads(sluice("list", "--json")[1])["keys"] if row["tenant"] == namespace]
        return dict(found)

    expected = {"id": made["id"], "tenant": namespace, "tier": "pro", "limit": 0, "dialects": ["absinthe", "scrip"]}
    assert row() == expected | {"revoked": False}
    assert made["id"] in sluice("list")[1]
    assert made["key"] not in sluice("list")[1]

    assert sluice("revoke", made["id"])[0] == 0
    assert row() == expected | {"revoked": True}

    digest = hashlib.sha256(made["key"].encode()).hexdigest()
    records = [record for record in read_all(keys_topic, CONTROL_KEYS.name) if record.key == digest.encode()]
    assert [API_KEY.decode(record.value)["revoked"] for record in records] == [False, True]
    assert not any(made["key"].encode() in record.value for record in records)


def test_a_key_that_cannot_be_read_is_left_out_and_named(sluice: Sluice, keys_topic: str, namespace: str) -> None:
    newer = b"\xc3\x01" + b"\0" * 8 + b"x"
    before, name = len(json.loads(sluice("list", "--json")[1])["keys"]), hashlib.sha256(namespace.encode()).hexdigest()
    produce_records(keys_topic, [(CONTROL_KEYS.name, 0, name.encode(), newer, [])])
    try:
        code, output, error = sluice("list", "--json")
        assert (code, len(json.loads(output)["keys"])) == (0, before)
        assert "no schema with the fingerprint 0000000000000000" in error
    finally:
        produce_records(keys_topic, [(CONTROL_KEYS.name, 0, name.encode(), None, [])])
    assert sluice("list")[2] == ""


def test_revoking_what_is_not_there(sluice: Sluice) -> None:
    code, _, error = sluice("revoke", "nothing")
    assert code == 1
    assert "No key has the id nothing" in error


@pytest.mark.parametrize("wanted", [("list",), ("revoke", "some"), ("create", "--tenant", "t")])
def test_a_kafka_that_is_away_is_told_at_once_in_a_sentence(tmp_path: Path, wanted: tuple[str, ...]) -> None:
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "cli.main", "keys", *wanted, "--kafka", address, "--data-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Kafka at {address} does not answer")


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        ("create",),
        ("create", "--tenant", " "),
        ("create", "--tenant", "a\nb"),
        ("create", "--tenant", "t", "--limit", "-1"),
        ("create", "--tenant", "t", "--limit", str(1 << 63)),
        ("create", "--tenant", "t", "--tier", "gold"),
        ("create", "--tenant", "t", "--dialects", "scrip,nonsense"),
        ("revoke",),
        ("list", "--log-level", "loud"),
    ],
)
def test_wrong_usage_is_exit_code_2(sluice: Sluice, wrong: tuple[str, ...]) -> None:
    code, _, error = sluice(*wrong)
    assert code == 2
    assert error


def test_a_data_folder_has_few_demo_keys(sluice: Sluice, keys_topic: str, tmp_path: Path) -> None:
    def ids() -> set[str]:
        found = json.loads(sluice("list", "--json")[1])["keys"]
        return {row["id"] for row in found if row["tenant"] == "demo"}

    def valid() -> set[bytes]:
        records = {record.key or b"": record.value for record in read_all(keys_topic, CONTROL_KEYS.name)}
        return {key for key, value in records.items() if value is not None}

    own = json.loads(sluice("create", "--tenant", "demo", "--json")[1])["id"]
    before, made = ids(), []
    folders = [tmp_path / name for name in ("one", "two", *["one"] * DEMO_KEYS)]
    for folder in folders:
        folder.mkdir(exist_ok=True)
        made.append(asyncio.run(demo_key(load(kafka=keys_topic, data_dir=folder))))
        assert made[-1] not in "".join(file.read_text() for file in folder.iterdir())
    digests = [hashlib.sha256(key.encode()).hexdigest().encode() for key in made]
    assert [digest in valid() for digest in digests] == [False, *[True] * (DEMO_KEYS + 1)]
    assert own in before
    assert len(ids() - before) == DEMO_KEYS + 1
