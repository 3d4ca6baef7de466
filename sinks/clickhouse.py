"""The connection to ClickHouse, embedded or outside, who it is that asks, and rows as they are printed.

Errors: Unreachable, Refused. Both say in a sentence what to mend.
"""

from contextlib import closing
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError
from clickhouse_connect.driver.httputil import check_env_proxy
from clickhouse_connect.driver.query import QueryResult

from runtime.settings import Settings

ANSWER_LIMIT = 10.0
"""Seconds within which a ClickHouse that lives says so, whatever it is at; a query may take long."""
AUTHENTICATION_FAILED = 516
UNKNOWN_DATABASE = 81


class Unreachable(Exception):  # noqa: N818
    """ClickHouse does not answer."""


class Refused(Exception):  # noqa: N818
    """ClickHouse answers, and does not let us in."""


def port_of(scheme: str) -> int:
    """Where ClickHouse listens if the URL does not say."""
    return 8443 if scheme == "https" else 8123


def connect(settings: Settings, database: bool = True) -> Client:
    """A client for plain queries, safe to use from several threads. Without ``database``, in none of its own.

    Raises Unreachable, Refused.
    """
    url = urlsplit(settings.clickhouse_url())
    if silence := _silence(url):
        raise Unreachable(f"ClickHouse at {settings.clickhouse_url()} does not answer: {silence}")
    try:
        return clickhouse_connect.get_client(
            host=url.hostname or "127.0.0.1",
            port=url.port or port_of(url.scheme),
            interface=url.scheme,
            username=settings.clickhouse_user,
            password=settings.clickhouse_password.get_secret_value(),
            database=settings.clickhouse_database if database else "__default__",
            autogenerate_session_id=False,
            query_retries=0,
            client_name="sluice",
        )
    except DatabaseError as error:
        if error.code == AUTHENTICATION_FAILED:
            raise Refused(
                f"ClickHouse at {settings.clickhouse_url()} refuses the account {settings.clickhouse_user}:"
                " check SLUICE_CLICKHOUSE_USER and SLUICE_CLICKHOUSE_PASSWORD"
            ) from None
        if error.code == UNKNOWN_DATABASE:
            raise Refused(
                f"ClickHouse at {settings.clickhouse_url()} has no database {settings.clickhouse_database}:"
                " run `sluice migrate`"
            ) from None
        said = "answers with an error" if error.code else "does not answer"
        raise Unreachable(f"ClickHouse at {settings.clickhouse_url()} {said}: {error}") from error
    except (ClickHouseError, OSError) as error:
        raise Unreachable(f"ClickHouse at {settings.clickhouse_url()} does not answer: {error}") from error


def _silence(url: SplitResult) -> str:
    """Why no connection is made, or one that is made gets no answer, for which a client waits as long as for a query.

    Empty where there is an answer, and where the client may know better: behind a proxy, or of certificates and names.
    """
    host, port = url.hostname or "127.0.0.1", url.port or port_of(url.scheme)
    if check_env_proxy(url.scheme, host, port):
        return ""
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    try:
        with closing(kind(host, port, timeout=ANSWER_LIMIT)) as connection:
            connection.request("GET", "/ping")
            connection.getresponse()
    except TimeoutError:
        return f"it said nothing within {ANSWER_LIMIT:g} s"
    except ConnectionError as error:
        return str(error)
    except (OSError, HTTPException, ValueError):  # the last of a name that is none
        pass
    return ""


def named_rows(found: QueryResult) -> list[dict[str, Any]]:
    """By column. Times are of UTC: the client's are naive, and would be taken for the zone of this machine."""
    return [dict(zip(found.column_names, map(_utc, row), strict=True)) for row in found.result_rows]


def _utc(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value
