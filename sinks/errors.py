"""What an error of an insert means: three outcomes, by ClickHouse's code, each with its reason.

    Retry   the system: wait and insert the same block again, for ever
    BadRow  one of the rows: find it and dead-letter it alone
    Stop    only a person can mend it: end the sink with a sentence; nothing is lost, the rows stay in Kafka

An unknown code is retried, loudly: a row taken for bad would leave the table for a fault that is not its own.
"""

import struct
from enum import Enum

from clickhouse_connect.driver.exceptions import DatabaseError, DataError, ProgrammingError

VALUE = (DataError, ProgrammingError, ValueError, TypeError, ArithmeticError, AttributeError, struct.error)
"""What encoding raises for a value that its column's type cannot carry."""


UNKNOWN_TABLE = 60


class Outcome(Enum):
    """What to do."""

    RETRY = "retry"
    BAD_ROW = "bad row"
    STOP = "stop"


CODES: dict[int, tuple[Outcome, str]] = {
    # The row: a value that the column cannot hold.
    6: (Outcome.BAD_ROW, "CANNOT_PARSE_TEXT"),
    26: (Outcome.BAD_ROW, "CANNOT_PARSE_QUOTED_STRING"),
    27: (Outcome.BAD_ROW, "CANNOT_PARSE_INPUT_ASSERTION_FAILED"),
    33: (Outcome.BAD_ROW, "CANNOT_READ_ALL_DATA: a value is shorter than its length says"),
    38: (Outcome.BAD_ROW, "CANNOT_PARSE_DATE"),
    41: (Outcome.BAD_ROW, "CANNOT_PARSE_DATETIME"),
    69: (Outcome.BAD_ROW, "ARGUMENT_OUT_OF_BOUND"),
    70: (Outcome.BAD_ROW, "CANNOT_CONVERT_TYPE: also a number beyond the column's range"),
    72: (Outcome.BAD_ROW, "CANNOT_PARSE_NUMBER"),
    117: (Outcome.BAD_ROW, "INCORRECT_DATA: also JSON that the JSON type refuses"),
    128: (Outcome.BAD_ROW, "TOO_LARGE_ARRAY_SIZE"),
    131: (Outcome.BAD_ROW, "TOO_LARGE_STRING_SIZE"),
    190: (Outcome.BAD_ROW, "SIZES_OF_ARRAYS_DONT_MATCH"),
    306: (Outcome.BAD_ROW, "TOO_DEEP_RECURSION: JSON nested beyond the server's stack"),
    321: (Outcome.BAD_ROW, "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE"),
    349: (Outcome.BAD_ROW, "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN"),
    376: (Outcome.BAD_ROW, "CANNOT_PARSE_UUID"),
    407: (Outcome.BAD_ROW, "DECIMAL_OVERFLOW"),
    441: (Outcome.BAD_ROW, "CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING"),
    467: (Outcome.BAD_ROW, "CANNOT_PARSE_BOOL"),
    469: (Outcome.BAD_ROW, "VIOLATED_CONSTRAINT"),
    # A person: the sink and the database do not fit, or the account may not write.
    8: (Outcome.STOP, "THERE_IS_NO_COLUMN: run `sluice migrate`"),
    10: (Outcome.STOP, "NOT_FOUND_COLUMN_IN_BLOCK: run `sluice migrate`"),
    16: (Outcome.STOP, "NO_SUCH_COLUMN_IN_TABLE: run `sluice migrate`"),
    20: (Outcome.STOP, "NUMBER_OF_COLUMNS_DOESNT_MATCH: run `sluice migrate`"),
    44: (Outcome.STOP, "ILLEGAL_COLUMN: run `sluice migrate`"),
    47: (Outcome.STOP, "UNKNOWN_IDENTIFIER: run `sluice migrate`"),
    48: (Outcome.STOP, "NOT_IMPLEMENTED: is the server older than Sluice supports?"),
    50: (Outcome.STOP, "UNKNOWN_TYPE: is the server older than Sluice supports?"),
    53: (Outcome.STOP, "TYPE_MISMATCH: a column has another type than the migrations give it"),
    UNKNOWN_TABLE: (Outcome.STOP, "UNKNOWN_TABLE: run `sluice migrate`"),
    62: (Outcome.STOP, "SYNTAX_ERROR: is the server older than Sluice supports?"),
    73: (Outcome.STOP, "UNKNOWN_FORMAT: is the server older than Sluice supports?"),
    81: (Outcome.STOP, "UNKNOWN_DATABASE: run `sluice migrate`"),
    115: (Outcome.STOP, "UNKNOWN_SETTING: is the server older than Sluice supports?"),
    192: (Outcome.STOP, "UNKNOWN_USER: check SLUICE_CLICKHOUSE_USER"),
    193: (Outcome.STOP, "WRONG_PASSWORD: check SLUICE_CLICKHOUSE_PASSWORD"),
    194: (Outcome.STOP, "REQUIRED_PASSWORD: set SLUICE_CLICKHOUSE_PASSWORD"),
    452: (Outcome.STOP, "SETTING_CONSTRAINT_VIOLATION: the account may not set what an insert needs"),
    497: (Outcome.STOP, "ACCESS_DENIED: the account may not insert"),
    516: (Outcome.STOP, "AUTHENTICATION_FAILED: check SLUICE_CLICKHOUSE_USER and SLUICE_CLICKHOUSE_PASSWORD"),
    # The system: it passes, or somebody mends it while we wait.
    3: (Outcome.RETRY, "UNEXPECTED_END_OF_FILE: the connection broke in mid-block"),
    23: (Outcome.RETRY, "CANNOT_READ_FROM_ISTREAM"),
    24: (Outcome.RETRY, "CANNOT_WRITE_TO_OSTREAM"),
    32: (Outcome.RETRY, "ATTEMPT_TO_READ_AFTER_EOF: the connection broke in mid-block"),
    40: (Outcome.RETRY, "CHECKSUM_DOESNT_MATCH: damaged on its way"),
    74: (Outcome.RETRY, "CANNOT_READ_FROM_FILE_DESCRIPTOR: disk"),
    75: (Outcome.RETRY, "CANNOT_WRITE_TO_FILE_DESCRIPTOR: disk"),
    76: (Outcome.RETRY, "CANNOT_OPEN_FILE: disk, or too many files open"),
    95: (Outcome.RETRY, "CANNOT_READ_FROM_SOCKET"),
    96: (Outcome.RETRY, "CANNOT_WRITE_TO_SOCKET"),
    159: (Outcome.RETRY, "TIMEOUT_EXCEEDED"),
    160: (Outcome.RETRY, "TOO_SLOW"),
    164: (Outcome.RETRY, "READONLY: the server takes no writes for now"),
    173: (Outcome.RETRY, "CANNOT_ALLOCATE_MEMORY"),
    198: (Outcome.RETRY, "DNS_ERROR"),
    201: (Outcome.RETRY, "QUOTA_EXCEEDED"),
    202: (Outcome.RETRY, "TOO_MANY_SIMULTANEOUS_QUERIES"),
    203: (Outcome.RETRY, "NO_FREE_CONNECTION"),
    209: (Outcome.RETRY, "SOCKET_TIMEOUT"),
    210: (Outcome.RETRY, "NETWORK_ERROR"),
    216: (Outcome.RETRY, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING"),
    218: (Outcome.RETRY, "TABLE_IS_DROPPED: a migration is under way"),
    225: (Outcome.RETRY, "NO_ZOOKEEPER"),
    236: (Outcome.RETRY, "ABORTED: the server is going down"),
    241: (Outcome.RETRY, "MEMORY_LIMIT_EXCEEDED"),
    242: (Outcome.RETRY, "TABLE_IS_READ_ONLY: replication has lost its keeper"),
    243: (Outcome.RETRY, "NOT_ENOUGH_SPACE"),
    252: (Outcome.RETRY, "TOO_MANY_PARTS: merges are behind"),
    279: (Outcome.RETRY, "ALL_CONNECTION_TRIES_FAILED"),
    285: (Outcome.RETRY, "TOO_FEW_LIVE_REPLICAS"),
    286: (Outcome.RETRY, "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE"),
    319: (Outcome.RETRY, "UNKNOWN_STATUS_OF_INSERT: it may be in; a repeat collapses"),
    394: (Outcome.RETRY, "QUERY_WAS_CANCELLED"),
    425: (Outcome.RETRY, "SYSTEM_ERROR"),
    439: (Outcome.RETRY, "CANNOT_SCHEDULE_TASK: no thread is free"),
    473: (Outcome.RETRY, "DEADLOCK_AVOIDED: a migration is under way"),
    499: (Outcome.RETRY, "S3_ERROR"),
    745: (Outcome.RETRY, "SERVER_OVERLOADED"),
    999: (Outcome.RETRY, "KEEPER_EXCEPTION"),
    1000: (Outcome.RETRY, "POCO_EXCEPTION: network or disk"),
    1001: (Outcome.RETRY, "STD_EXCEPTION"),
    1002: (Outcome.RETRY, "UNKNOWN_EXCEPTION"),
}


def classify(error: Exception) -> tuple[Outcome, str]:
    """What to do about an error of an insert, and why in a few words."""
    if isinstance(error, VALUE):
        return Outcome.BAD_ROW, f"a value that its column cannot carry: {error}"
    if isinstance(error, DatabaseError) and error.code:
        return CODES.get(error.code, (Outcome.RETRY, f"unknown error {error.code}: {error}"))
    return Outcome.RETRY, f"no answer: {error}"
