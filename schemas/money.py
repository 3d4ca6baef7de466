"""Amounts: exact decimals with 18 places, kept as unscaled ints and their bytes. Never a binary float."""

from decimal import Decimal

SCALE = 18
ONE = 10**SCALE


def to_bytes(unscaled: int) -> bytes:
    """Two's complement, big-endian, as short as it goes: Avro's decimal."""
    return unscaled.to_bytes((unscaled + (unscaled < 0)).bit_length() // 8 + 1, "big", signed=True)


def from_bytes(data: bytes) -> int:
    """The unscaled int of Avro's decimal."""
    return int.from_bytes(data, "big", signed=True)


def to_decimal(unscaled: int) -> Decimal:
    """The exact decimal, whatever the context's precision."""
    sign, digits = (1, -unscaled) if unscaled < 0 else (0, unscaled)
    return Decimal((sign, tuple(map(int, str(digits))), -SCALE))
