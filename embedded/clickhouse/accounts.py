"""Who asks: the account that writes and migrates, and the analyst's, which only reads and within limits."""

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from embedded.clickhouse.errors import AUTHENTICATION_FAILED, ClickHouseError


@dataclass(frozen=True)
class Account:
    """A name, its password, and the settings that each of its sessions begins with."""

    name: str
    password: str = field(repr=False)
    read_only: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


def credentials(headers: Mapping[str, str], parameters: Mapping[str, str]) -> tuple[str, str]:
    """Name and password by header, Basic authentication or URL, in this order; without any, ``default``.

    Raises ClickHouseError where Basic authentication cannot be read.
    """
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", "default"), headers.get("X-ClickHouse-Key", "")
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise ClickHouseError(AUTHENTICATION_FAILED, "The Authorization header cannot be read") from None
        return name, password
    return parameters.get("user", "default"), parameters.get("password", "")


def authenticate(accounts: Mapping[str, Account], name: str, password: str) -> Account:
    """The account; raises ClickHouseError without a word on which of the two was wrong."""
    account = accounts.get(name)
    expected = account.password if account is not None else ""
    right = hmac.compare_digest(password.encode("utf-8", "surrogateescape"), expected.encode())
    if account is None or not right:
        raise ClickHouseError(
            AUTHENTICATION_FAILED,
            f"{name}: Authentication failed: password is incorrect, or there is no user with such name."
            " (AUTHENTICATION_FAILED)",
        )
    return account
