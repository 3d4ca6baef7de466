"""What `sluice up` says once everything is up: where things are, a request to try and a query that shows its row."""

import json
import shlex
from pathlib import Path

from runtime.settings import Settings

EVENT = {
    "event_type": "transaction",
    "identifiers": {"player_id": "player-1"},
    "payload": {"amount": 4.99, "currency": "USD", "type": "iap", "status": "success"},
}


def text(settings: Settings, key: str) -> str:
    """The summary, with a demo key."""
    gateway = f"http://{settings.gateway_host}:{settings.gateway_port}"
    clickhouse = settings.clickhouse_url()
    analyst = f"  (account {settings.analyst_user} reads only)" if settings.clickhouse is None else ""
    return f"""
Sluice is up.

  Gateway     {gateway}  (documentation: {gateway}/docs)
  ClickHouse  {clickhouse}{analyst}
  Kafka       {settings.kafka_address()}
  Demo key    {key}
  Logs        {_near(settings.data_dir / "logs")}

Send an event:

  {request(gateway, key)}

See its row:

  {query(settings)}
"""


def request(gateway: str, key: str) -> str:
    """One curl line."""
    body = shlex.quote(json.dumps(EVENT, separators=(",", ":")))
    return f"curl -sS {gateway}/api/v1/event -H 'X-API-Key: {key}' -H 'Content-Type: application/json' -d {body}"


def query(settings: Settings) -> str:
    """Another one, as the analyst where there is one; curl asks for a password that is set."""
    columns = "event_name, player_id, amount, currency, received_at"
    sql = f"SELECT {columns} FROM events ORDER BY received_at DESC LIMIT 5 FORMAT PrettyCompact"  # noqa: S608 - names only
    url = f"{settings.clickhouse_url()}/?database={settings.clickhouse_database}"
    user = settings.analyst_user if settings.clickhouse is None else settings.clickhouse_user
    password = settings.analyst_password if settings.clickhouse is None else settings.clickhouse_password
    account = f"--user {user}" if password.get_secret_value() else f"--user {user}:"
    return f"curl -sS {account} {shlex.quote(url)} --data-binary {shlex.quote(sql)}"


def _near(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
