"""Errors are interface: one tree, facts as attributes, a message that helps."""

import inspect
import pickle

import pytest

from tcb_async import exceptions
from tcb_async.cursor import Cursor
from tcb_async.exceptions import ApiError, ConfigurationError, TcbError, TokenError, TransportError

TREE = {
    "ApiError": "TcbError",
    "SystemBusyError": "ApiError",
    "TokenError": "ApiError",
    "ParameterError": "ApiError",
    "PermissionDeniedError": "ApiError",
    "QuotaError": "ApiError",
    "DailyQuotaError": "QuotaError",
    "RateLimitError": "QuotaError",
    "TransportError": "TcbError",
    "ResponseError": "TcbError",
    "DriftError": "TcbError",
    "FunctionFailedError": "TcbError",
    "WaitTimeoutError": "TcbError",
    "ClientClosedError": "TcbError",
    "ConfigurationError": "TcbError",
    "TcbError": "Exception",
}
CLASSES = [getattr(exceptions, name) for name in exceptions.__all__]


def test_the_tree_is_the_documented_one() -> None:
    assert {c.__name__: c.__mro__[1].__name__ for c in CLASSES} == TREE
    assert all(name in (exceptions.__doc__ or "") for name in TREE)


def test_a_configuration_error_is_also_a_value_error() -> None:
    assert issubclass(ConfigurationError, ValueError)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda c: c.__name__)
def test_every_error_pickles_with_its_facts(kind: type[TcbError]) -> None:
    error = kind("what happened", env="test-1", offset=40, attempts=3)
    error.gave_up = "all 3 attempts are used up"

    twin = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes

    assert type(twin) is kind
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)


def test_the_message_names_env_offset_tries_and_why_it_gave_up() -> None:
    error = TransportError("no answer", env="test-1", offset=40, attempts=3, gave_up="deadline")

    assert str(error) == "no answer (env 'test-1', offset 40, after 3 tries, deadline)"
    assert error.message == "no answer"
    assert repr(error) == (
        """TransportError("no answer (env 'test-1', offset 40, after 3 tries, deadline)")"""
    )


def test_an_error_without_facts_is_just_its_message() -> None:
    assert str(TcbError("the client was closed")) == "the client was closed"


def test_an_api_error_carries_what_wechat_said() -> None:
    error = TokenError("no", errcode=40014, errmsg="invalid", rid="a-b-c", endpoint="/tcb/x")

    assert (error.errcode, error.errmsg, error.rid) == (40014, "invalid", "a-b-c")
    assert error.endpoint == "/tcb/x"
    assert isinstance(error, ApiError)


def test_every_error_says_in_its_docstring_what_it_means() -> None:
    assert all(inspect.getdoc(kind) for kind in CLASSES)
    assert Cursor is not None
