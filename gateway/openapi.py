"""/openapi.json: every dialect's routes, made from what the dialects say of themselves, and /docs, made from that.

The page is plain HTML without a script or anything from elsewhere, so that it works without the internet.
"""

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from gateway.dialects.base import Dialect, Route

Json = dict[str, Any]

_ERROR = {
    "type": "object",
    "required": ["detail"],
    "properties": {
        "detail": {"type": "string", "description": "What to mend"},
        "errors": {
            "type": "array",
            "description": "Every faulty event and field at once",
            "items": {
                "type": "object",
                "required": ["index", "field", "message"],
                "properties": {
                    "index": {"type": ["integer", "null"], "description": "Position in the batch"},
                    "field": {"type": "string", "description": "Path within the event"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}
_MEANING = {
    400: "The request is faulty; nothing of it was stored",
    401: "Invalid or missing API key",
    403: "The API key is revoked, or may not use this API",
    404: "There is no such event",
    408: "The body was not complete in time",
    409: "Another request holds this name or idempotency key with another content",
    413: "The body is larger than 1 MiB, as sent or unpacked",
    415: "Content-Type is not JSON, or Content-Encoding is not gzip",
    422: "The Idempotency-Key was used with another payload",
    429: "Rate limit exceeded",
    500: "The event could not be stored now; retry with backoff",
    503: "The event could not be stored now; retry with backoff",
}
_ALWAYS = (400, 401, 408, 413, 415, 429)
_LIMIT_HEADERS = {
    "X-RateLimit-Limit": "Requests per minute",
    "X-RateLimit-Remaining": "Requests left in this window, after this one",
    "X-RateLimit-Reset": "Epoch second at which the window ends",
    "RateLimit-Policy": "IETF RateLimit-Policy",
    "RateLimit": "IETF RateLimit",
    "Retry-After": "Seconds to wait, with 429, 500 and 503",
    "X-Request-Id": "The request's id in the logs",
}


def describe(dialects: Iterable[Dialect], version: str) -> Json:
    """The OpenAPI 3.1 document."""
    paths: Json = {}
    for dialect in dialects:
        for route in dialect.routes:
            methods = paths.setdefault(route.path, {})
            operation = _operation(dialect, route)
            method = route.method.lower()
            methods[method] = _merged(methods[method], operation) if method in methods else operation
    for path, what in _PAGES.items():
        paths[path] = {"get": {"tags": ["service"], "summary": what, "operationId": path[1:], "security": [],
                               "responses": _page_answers(path)}}  # fmt: skip
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sluice", "version": version, "description": "Server-to-server events, by vendor's API"},
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
            "schemas": {"Error": _ERROR},
        },
    }


_PAGES = {
    "/health": "The process lives",
    "/ready": "Kafka is reachable and new work is taken on",
    "/metrics": "Metrics as Prometheus reads them",
    "/openapi.json": "This document",
    "/docs": "This document as a page",
}


def _page_answers(path: str) -> Json:
    kind = {"/metrics": "text/plain", "/docs": "text/html"}.get(path, "application/json")
    answers: Json = {"200": {"description": _PAGES[path], "content": {kind: {}}}}
    if path == "/ready":
        answers["503"] = {"description": "Not ready", "content": {kind: {}}}
    return answers


def _operation(dialect: Dialect, route: Route) -> Json:
    names = re.findall(r"{(\w+)}", route.path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    parameters += [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in route.headers.items()
    ]
    operation: Json = {
        "tags": [dialect.name],
        "summary": route.summary,
        "operationId": re.sub(r"\W+", "_", f"{dialect.name}_{route.method.lower()}{route.path}").strip("_"),
        "parameters": parameters,
        "responses": _responses(dialect, route),
    }
    if route.body is not None:
        media: Json = {"schema": route.body}
        if route.example is not None:
            media["examples"] = {dialect.name: {"value": route.example}}
        operation["requestBody"] = {"required": True, "content": {route.media_type: media}}
    return operation


def _responses(dialect: Dialect, route: Route) -> Json:
    limits = {name: {"description": text, "schema": {"type": "string"}} for name, text in _LIMIT_HEADERS.items()}
    answers: Json = {
        str(status): {"description": "Success", "headers": limits, "content": {"application/json": {"schema": schema}}}
        for status, schema in route.answers.items()
    }
    statuses = {*_ALWAYS, *dialect.refusals, dialect.unavailable}
    if any(name.lower() == "idempotency-key" for name in route.headers):
        statuses.add(422)
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for status in sorted(statuses):
        answers[str(status)] = {"description": _MEANING[status], "headers": limits, "content": error}
    return answers


def _merged(first: Json, second: Json) -> Json:
    """One operation out of two dialects' that share a route: either body, and either's answers."""
    bodies = [operation["requestBody"]["content"]["application/json"] for operation in (first, second)]
    examples = {name: example for body in bodies for name, example in body.get("examples", {}).items()}
    return {
        **first,
        "tags": first["tags"] + second["tags"],
        "summary": f"{first['summary']}; or {second['summary']}",
        "operationId": "shared_" + first["operationId"].partition("_")[2],
        "parameters": list({each["name"]: each for each in first["parameters"] + second["parameters"]}.values()),
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"anyOf": [body["schema"] for body in bodies]}, "examples": examples}
            },
        },
        "responses": first["responses"] | second["responses"],
    }


_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
code,pre{font:13px/1.4 ui-monospace,monospace}pre{background:#f4f4f2;padding:.8rem;overflow:auto}
h2{margin-top:3rem;border-bottom:1px solid #ccc}h3 code{font-size:16px}
td,th{text-align:left;padding:.1rem .8rem .1rem 0}
"""


def page(document: Mapping[str, Any]) -> str:
    """The document for people."""
    by_tag: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(" and ".join(operation["tags"]), []).append(_section(method, path, operation))
    parts = [f"<h2>{escape(tag)}</h2>{''.join(sections)}" for tag, sections in by_tag.items()]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Sluice</title><style>{_STYLE}</style><h1>Sluice</h1>"
        "<p>The key goes into the header <code>X-API-Key</code>. The same as a machine reads it: "
        f'<a href="/openapi.json">/openapi.json</a></p>{"".join(parts)}</html>'
    )


def _section(method: str, path: str, operation: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{status}</code><td>{escape(answer['description'])}"
        for status, answer in operation["responses"].items()
    )
    headers = "".join(
        f"<tr><td><code>{escape(each['name'])}</code><td>{escape(each.get('description', 'in the path'))}"
        for each in operation.get("parameters", ())
    )
    media: Json = next(iter(operation.get("requestBody", {}).get("content", {}).values()), {})
    examples = "".join(f"<pre>{_text(example['value'])}</pre>" for example in media.get("examples", {}).values())
    schema = f"<details><summary>Schema</summary><pre>{_text(media['schema'])}</pre></details>" if media else ""
    return (
        f"<h3><code>{method.upper()} {escape(path)}</code></h3><p>{escape(operation['summary'])}</p>{examples}{schema}"
        f"<table>{headers}{rows}</table>"
    )


def _text(value: Any) -> str:
    return escape(json.dumps(value, indent=2, ensure_ascii=False))
