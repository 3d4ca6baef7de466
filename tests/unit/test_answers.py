"""What stands in an answer stands in the row of its rejection too."""

import json

import pytest

from gateway.answers import Denied


@pytest.mark.parametrize("status", [401, 403])
def test_a_denial_says_the_same_to_the_client_and_to_the_analyst(status: int) -> None:
    denied = Denied(status)
    assert json.loads(denied.body()) == {"detail": denied.detail}
    assert "API key" in denied.detail
