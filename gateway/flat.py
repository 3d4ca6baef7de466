"""Events without models within them, read in one pass over their members.

What is plainly right goes no further than this pass; anything else is read by pydantic, which tells every fault. Both
are made from the one model, and a test holds them against each other. The pass takes half of pydantic's time
(docs/performance/gateway.md), and visits the members that were sent, not all that could be.
"""

from collections.abc import Callable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, PlainValidator
from pydantic.fields import FieldInfo

from gateway import values
from gateway.columns import Column, Members, texts
from gateway.dialects.base import Fault
from gateway.shape import Shape

Take = Callable[[Any], Any]
"""Reads a field's value, which is not null; raises ValueError where it is not plainly right."""

Flattened = tuple[dict[str, Any], dict[str, Any], list[Fault]]
"""The fields that are not missing, the members that are no fields, and the faults."""


class Flat:
    """Reads events of one model. In a field null counts as missing, and so does a text without a character."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._shape = Shape(model)
        self._takes = {name: _take(info) for name, info in model.model_fields.items()}
        self._texts = frozenset(name for name, take in self._takes.items() if take is values.text)
        self._required = frozenset(name for name, info in model.model_fields.items() if info.is_required())

    def read(self, value: dict[str, Any]) -> Flattened:
        """The event; of one with faults, the fields that are right."""
        found = value.copy()  # most members are texts that stay what they are
        others: dict[str, Any] = {}
        texts, takes = self._texts, self._takes
        try:
            for name, item in value.items():
                if name in texts and type(item) is str and item:
                    continue
                take = takes.get(name)
                if take is None:
                    others[name] = found.pop(name)
                elif item is None or (item == "" and name in texts):
                    del found[name]
                else:
                    found[name] = take(item)
        except ValueError:
            return self.exactly(value)
        return (found, others, []) if found.keys() >= self._required else self.exactly(value)

    def columns(self, members: Members) -> tuple[dict[str, Column], dict[str, Column]]:
        """The fields and the other members of many events of one shape.

        Raises ValueError where a field is missing or not plainly right, a null included.
        """
        found: dict[str, Column] = {}
        others: dict[str, Column] = {}
        for name, column in members.items():
            take = self._takes.get(name)
            if take is None:
                others[name] = column
            else:
                found[name] = texts(column) if name in self._texts else list(map(take, column))
        if not found.keys() >= self._required:
            raise ValueError("a field is missing")
        return found, others

    def exactly(self, value: dict[str, Any]) -> Flattened:
        """The same by pydantic alone."""
        event, faults = self._shape.read(value)
        found = {name: item for name, item in event.__dict__.items() if item is not None and item != ""}
        return found, event.__pydantic_extra__ or {}, faults


def _take(info: FieldInfo) -> Take:
    kind, rules = info.annotation, info.metadata
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (each for each in get_args(kind) if each is not NoneType)
    if get_origin(kind) is Annotated:
        kind, *rules = get_args(kind)
    for rule in rules:
        if isinstance(rule, PlainValidator):
            return rule.func  # type: ignore[return-value]
    if get_origin(kind) is Literal:
        return _one_of(get_args(kind))
    return {str: values.text, bool: values.boolean, dict: _members}[get_origin(kind) or kind]  # type: ignore[index]


def _one_of(choices: tuple[Any, ...]) -> Take:
    def take(item: Any) -> Any:
        if type(item) is not str or item not in choices:
            raise ValueError(f"must be one of {choices}")
        return item

    return take


def _members(item: Any) -> dict[str, Any]:
    if type(item) is not dict:
        raise ValueError("must be an object")
    return item
