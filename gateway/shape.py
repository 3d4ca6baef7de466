"""The shape of an event: a pydantic model is the one declaration of a dialect's fields.

It is what is validated and what /openapi.json shows. Pydantic stops at its fields: rules between fields are functions
of the dialect, and must run on an event with faults too, since every fault is told at once. ``Shape.read`` therefore
always returns a model; of a faulty event one in which the faulty fields are None.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Generic, Optional, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    create_model,
)
from pydantic_core import ErrorDetails

from gateway import values
from gateway.dialects.base import Fault


class Open(BaseModel):
    """An object with declared fields that may have any other."""

    model_config = ConfigDict(strict=True, extra="allow")


def _schema(description: str, *types: str, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": types[0] if len(types) == 1 else list(types), "description": description, **more})


_DECIMAL = "Exact decimal: a number, or a text of its digits; at most 20 digits before the point and 18 behind it"
_TIME = "Unix timestamp (1e11 or more is milliseconds, less is seconds) or ISO 8601 (UTC without an offset)"

Name = Annotated[str, Field(min_length=1)]
Amount = Annotated[int, PlainValidator(values.amount), _schema(_DECIMAL, "number", "string")]
Time = Annotated[int, PlainValidator(values.any_time), _schema(_TIME, "number", "string")]
UnixTime = Annotated[
    int,
    PlainValidator(values.unix_time),
    _schema("Unix timestamp: 1e11 or more is milliseconds, less is seconds", "number", minimum=0),
]
Rfc3339 = Annotated[
    int, PlainValidator(values.rfc3339_time), _schema("RFC 3339 with an offset", "string", format="date-time")
]
Uuid = Annotated[
    str,
    Field(pattern="^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"),
    Field(json_schema_extra={"format": "uuid"}),
]
Key = Annotated[str, Field(min_length=1, max_length=255)]
Object = Annotated[InstanceOf[dict[str, Any]], _schema("Any members", "object")]

M = TypeVar("M", bound=BaseModel)

_OBJECT = "must be an object"
_MESSAGES = {
    "missing": "is required",
    "string_type": "must be a text",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must be a UUID",
    "bool_type": "must be true or false",
    "literal_error": "must be {expected}",
    "model_type": _OBJECT,
    "is_instance_of": _OBJECT,
    "value_error": "{error}",
}
"""What to mend, by pydantic's type of error; a test holds that the models know no other."""


class Shape(Generic[M]):
    """Reads events of one model."""

    def __init__(self, model: type[M]) -> None:
        self._validate = model.__pydantic_validator__.validate_python
        self._partial = _partial(model).__pydantic_validator__.validate_python
        self.model = model

    def read(self, value: Any) -> tuple[M, list[Fault]]:
        """The event and its faults; without any, it is a valid ``model``, else the faulty fields are None."""
        try:
            return self._validate(value), []
        except ValidationError as error:
            details = error.errors(include_url=False)
        faulty = {detail["loc"][0] for detail in details if detail["loc"]}
        sound = {name: item for name, item in value.items() if name not in faulty} if isinstance(value, dict) else {}
        return self._partial(sound), [_fault(detail) for detail in details]


def _partial(model: type[BaseModel]) -> type[BaseModel]:
    """The model with every field optional."""
    fields: Mapping[str, Any] = {
        name: (Optional[Annotated[(info.annotation, *info.metadata, None)]], None)  # noqa: UP045
        for name, info in model.model_fields.items()
    }
    return create_model(f"Partial{model.__name__}", __config__=model.model_config, **fields)


def _fault(detail: ErrorDetails) -> Fault:
    path = ".".join(str(part) for part in detail["loc"])
    kind = "missing" if detail["input"] is None else detail["type"]
    return Fault(path, _MESSAGES[kind].format_map(detail.get("ctx", {})))


def fields_of(faults: list[Fault]) -> frozenset[str]:
    """The top-level fields that have a fault, so that no rule between fields tells of them again."""
    return frozenset(fault.field.split(".", 1)[0] for fault in faults) if faults else _NONE


_NONE: frozenset[str] = frozenset()
