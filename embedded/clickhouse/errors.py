"""ClickHouse's errors as its HTTP interface shows them: a code, a sentence, and the HTTP status of that code."""

import re

AUTHENTICATION_FAILED = 516
BAD_ARGUMENTS = 36
CANNOT_DECOMPRESS = 271
INTO_OUTFILE_NOT_ALLOWED = 358
NOT_IMPLEMENTED = 48
POCO_EXCEPTION = 1000
QUERY_IS_TOO_LARGE = 229
READONLY = 164
SYNTAX_ERROR = 62
TOO_MANY_SIMULTANEOUS_QUERIES = 202
UNKNOWN_COMPRESSION_METHOD = 89
UNKNOWN_EXCEPTION = 1002
ACCESS_DENIED = 497

_CODES_BY_STATUS = {
    400: (6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321, 376, 427, 441, 675, 676),
    401: (194,),
    403: (192, 193, 497, 512, 516),
    404: (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511),
    408: (159,),
    411: (381,),
    413: (229,),
    415: (779,),
    501: (48,),
    503: (76, 209, 439),
}
STATUS = {code: status for status, codes in _CODES_BY_STATUS.items() for code in codes}
"""As the server's own exceptionCodeToHTTPStatus has it; 500 for every other code."""

_CODE = re.compile(r"Code: (\d+)\. DB::")


class ClickHouseError(Exception):
    """What is answered instead of a result."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return STATUS.get(self.code, 500)

    def text(self, version: str) -> str:
        """The answer's body, in the form that clients take apart."""
        text = (
            self.message if self.message.startswith("Code: ") else f"Code: {self.code}. DB::Exception: {self.message}"
        )
        return text if "(version " in text else f"{text} (version {version} (embedded))"


def from_engine(error: Exception) -> ClickHouseError:
    """The engine's exception, whose text begins with its code; also where it quotes bytes that are no text."""
    text = error.object.decode(errors="replace") if isinstance(error, UnicodeDecodeError) else str(error)
    found = _CODE.search(text)
    return ClickHouseError(int(found.group(1)) if found else UNKNOWN_EXCEPTION, text)
