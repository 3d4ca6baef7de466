"""What the routes say of themselves for /openapi.json: JSON schemas without references, made from the models."""

from typing import Any

from pydantic import BaseModel, Field

IDEMPOTENCY_KEY = {
    "Idempotency-Key": "Makes a retry safe: the same key with the same body gets the first answer again, "
    "with another body 422"
}
"""The header that every route for events reads."""


class Counted(BaseModel):
    """Every event is in Kafka."""

    accepted: int = Field(ge=0, description="How many events were accepted")
    event_ids: list[str] = Field(description="Their ids, in the order sent")


def schema(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON schema, whole in itself."""
    found = model.model_json_schema()
    definitions = found.pop("$defs", {})
    whole: dict[str, Any] = _inlined(found, definitions)
    return whole


def array_of(model: type[BaseModel], most: int | None = None, least: int = 0) -> dict[str, Any]:
    """The JSON schema of a batch."""
    found: dict[str, Any] = {"type": "array", "items": schema(model), "minItems": least}
    return found if most is None else {**found, "maxItems": most}


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
    return {name: _inlined(item, definitions) for name, item in node.items()}
