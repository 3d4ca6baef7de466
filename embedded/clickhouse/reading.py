"""What a read-only account may not say, although the engine would only read: a library reads any file of this machine,
asks any server and looks at this process, where a server has grants against it.

Judged by the engine's own canonical form of the statement, so that no comment, quote or spelling hides a name.
"""

import re
from collections.abc import Mapping

from embedded.clickhouse.errors import READONLY, ClickHouseError
from embedded.clickhouse.statement import words

HARMLESS = frozenset(
    ("format", "generaterandom", "generateseries", "generate_series", "merge", "null", "numbers", "numbers_mt",
     "primes", "values", "view", "zeros", "zeros_mt")
)  # fmt: skip
"""Table functions that make their rows from nothing or from tables. Every other one is refused, a new one too."""
READS_FILES = frozenset(("file",))
"""Functions that are dangerous even by their bare name, as in arrayMap(file, ...)."""

_IDENTIFIER = re.compile(r"\{(\w+):Identifier\}")


def refuse_outside(canonical: str, table_functions: frozenset[str], parameters: Mapping[str, str]) -> None:
    """Raises ClickHouseError where the statement reaches beyond the tables. Names of functions in lower case."""
    forbidden = table_functions - HARMLESS
    found = words(canonical.encode())
    named = {parameters.get(name, "").strip("`\"' ").lower() for name in _IDENTIFIER.findall(canonical)}
    for word, calls in found:
        name = word.lower()
        if name in READS_FILES or (calls and name in forbidden):
            raise ClickHouseError(READONLY, f"{word} is not for an account that only reads tables. (READONLY)")
    if named & (READS_FILES | forbidden):
        raise ClickHouseError(READONLY, "A parameter names what is not for an account that only reads. (READONLY)")
