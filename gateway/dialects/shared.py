"""POST /api/v1/events, which adwize and gamerebellion both have: an array is adwize's, an object gamerebellion's.

Anything else, and what is no JSON, is answered as adwize (spec/dialects.md). The body is parsed once: what was found is
handed to the handler that is called when key and limit have been judged.
"""

from collections.abc import Callable

from gateway import jsontext
from gateway.dialects import adwize, gamerebellion
from gateway.dialects.base import Accepted, Handler, Malformed, Refusal, Request, Shared


def decide(request: Request) -> tuple[str, Handler]:
    """Whose the request is, and its handler. Never raises."""
    owner = gamerebellion if jsontext.root(request.body) == b"{" else adwize
    try:
        batch = owner.pieces(request)
    except Malformed as refusal:
        return adwize.NAME, _refuse(refusal)
    except Refusal as refusal:  # perhaps before the body's end: behind too many events there may be no JSON
        return (adwize if _malformed(request.body) else owner).NAME, _refuse(refusal)
    name = adwize.NAME if batch.malformed else owner.NAME
    return name, _accept(owner.accept, batch)


def _malformed(body: bytes) -> bool:
    try:
        return jsontext.read(body).malformed
    except Refusal as refusal:
        return isinstance(refusal, Malformed)


def _refuse(refusal: Refusal) -> Handler:
    def handle(_: Request) -> Accepted:
        raise refusal

    return handle


def _accept(accept: Callable[[Request, jsontext.Batch], Accepted], batch: jsontext.Batch) -> Handler:
    def handle(request: Request) -> Accepted:
        return accept(request, batch)

    return handle


EVENTS = Shared("POST", "/api/v1/events", decide)
