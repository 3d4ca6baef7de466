"""Which handler answers a method and path."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.dialects.base import Dialect, Handler, Request, Shared

BODIES = frozenset(("POST", "PUT", "PATCH"))


@dataclass(frozen=True)
class Endpoint:
    """A route of a dialect, or one that several share."""

    name: str
    """Method and path template, as in the documentation."""
    method: str
    dialect: Dialect
    """Whose it is; of a shared route, the one that answers what belongs to none."""
    handle: Handler | None
    shared: Shared | None = None
    any_media_type: bool = False

    @property
    def has_body(self) -> bool:
        """Whether a body is read at all."""
        return self.method in BODIES


Found = tuple[Endpoint, Mapping[str, str]]


class Routes:
    """Finds endpoints; static paths by a look-up, templates by their pattern."""

    def __init__(self, dialects: Iterable[Dialect], shared: Iterable[Shared]) -> None:
        by_name = {dialect.name: dialect for dialect in dialects}
        self._static: dict[str, dict[str, Endpoint]] = {}
        self._templates: list[tuple[re.Pattern[str], dict[str, Endpoint]]] = []
        paths: dict[str, dict[str, Endpoint]] = {}
        for dialect in by_name.values():
            for route in dialect.routes:
                name = f"{route.method} {route.path}"
                endpoint = Endpoint(name, route.method, dialect, route.handle, None, route.any_media_type)
                paths.setdefault(route.path, {})[route.method] = endpoint
        for common in shared:
            owner = by_name[common.decide(_nothing(common))[0]]
            endpoint = Endpoint(f"{common.method} {common.path}", common.method, owner, None, common)
            paths.setdefault(common.path, {})[common.method] = endpoint
        self._owners: dict[tuple[str, ...], Dialect] = {}
        for path, methods in sorted(paths.items(), key=lambda item: not any(e.shared for e in item[1].values())):
            parts = tuple(path.split("/"))
            for count in range(2, len(parts) + 1):
                self._owners.setdefault(parts[:count], next(iter(methods.values())).dialect)
        self._deepest = max(map(len, self._owners))
        for path, methods in paths.items():
            if "{" in path:
                self._templates.append((_pattern(path), methods))
            else:
                self._static[path] = methods

    def find(self, method: str, path: str) -> Found | list[str]:
        """The endpoint and what its template's names stand for; else the methods that the path has (none: 404)."""
        methods = self._static.get(path)
        if methods is not None:
            endpoint = methods.get(method)
            return (endpoint, {}) if endpoint is not None else sorted(methods)
        for pattern, methods in self._templates:
            match = pattern.fullmatch(path)
            if match is not None:
                endpoint = methods.get(method)
                return (endpoint, match.groupdict()) if endpoint is not None else sorted(methods)
        return []

    def owner(self, path: str) -> Dialect | None:
        """Whose a path is that is no route, or not for the method sent: that of the route with which it begins.

        Where several dialects' routes begin so, it is the one that answers what belongs to none of them.
        """
        parts = tuple(path.split("/", self._deepest)[: self._deepest])
        found = (self._owners.get(parts[:count]) for count in range(len(parts), 1, -1))
        return next((dialect for dialect in found if dialect is not None), None)


def _nothing(route: Shared) -> Request:
    return Request(f"{route.method} {route.path}", {}, {}, b"", "", 0)


def _pattern(template: str) -> re.Pattern[str]:
    """Of a decoded path, in which a slash may have been %2F: a name may stand for one."""
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(template)))
