from __future__ import annotations

import pytest
from poolhouse.testing.doubles import FakeContext
from pydantic import ValidationError

from worker.handlers.greet import Greet, Greeting, greet


def test_a_person_is_greeted_by_name() -> None:
    assert greet(Greet(name="Ada"), FakeContext()) == Greeting(greeting="Hello, Ada!")


@pytest.mark.parametrize("payload", [{}, {"name": ""}, {"name": "Ada", "more": 1}])
def test_a_payload_that_does_not_fit_is_refused(payload: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Greet.model_validate(payload)
