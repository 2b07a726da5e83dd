"""Error classes survive the way between processes, and every code has a status."""

import inspect
import pickle

import pytest

import models.errors
import serve_app.errors
from models.errors import TaggingError
from serve_app.errors import RETRY_AFTER_S_BY_CODE, STATUS_BY_CODE

CLASSES = sorted(
    {
        value
        for module in (models.errors, serve_app.errors)
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, TaggingError)
    },
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_errors_survive_pickling(kind: type[TaggingError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("for the caller", "for the log")))
    assert type(copy) is kind
    assert (copy.message, copy.detail) == ("for the caller", "for the log")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_code_has_a_status(kind: type[TaggingError]) -> None:
    assert kind.code in STATUS_BY_CODE


def test_retry_after_stands_only_where_trying_again_helps() -> None:
    assert all(STATUS_BY_CODE[code] in (429, 503) for code in RETRY_AFTER_S_BY_CODE)
    assert {code for code, status in STATUS_BY_CODE.items() if status in (429, 503)} == set(RETRY_AFTER_S_BY_CODE)
