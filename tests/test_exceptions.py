"""Errors are interface: one tree, facts as attributes, a message that helps."""

import copy
import inspect
import pickle
import re

import pytest

from tcb_async import exceptions
from tcb_async.cursor import Cursor
from tcb_async.exceptions import ConfigurationError, TcbError, TransportError

CLASSES = [
    kind
    for kind in vars(exceptions).values()
    if isinstance(kind, type) and issubclass(kind, TcbError) and kind.__name__[0] != "_"
]


def documented_tree():
    """The base of each class, as the module's docstring draws the tree."""
    bases, above = {}, ["Exception"]
    for branch, name in re.findall(r"^    ([ │├└─]*)(\w+Error)", exceptions.__doc__, re.MULTILINE):
        depth = len(branch) // 4 + 1
        above[depth:] = [name]
        bases[name] = above[depth - 1]
    return bases


def test_tree_is_the_documented_one():
    public = {c: [base.__name__ for base in c.__mro__ if base.__name__[0] != "_"] for c in CLASSES}

    assert {c.__name__: bases[1] for c, bases in public.items()} == documented_tree()
    assert issubclass(ConfigurationError, ValueError)


CONTEXT = {
    "env": "test-1",
    "offset": 40,
    "cursor": Cursor("test-1", offset=39),
    "attempts": 3,
    "stop_reason": "the retry policy allows no more",
}
FACTS = {
    "errcode": 40014,
    "errmsg": "invalid access_token",
    "rid": "a-b-c",
    "endpoint": "/tcb/listfunctions",
    "retry_after": 1.5,
    "status": 502,
    "retryable": False,
    "name": "login",
    "argument": "env",
}
ALWAYS_THERE = {
    "env": None,
    "offset": None,
    "cursor": None,
    "rid": None,
    "attempts": 0,
    "stop_reason": "",
}


def facts_of(kind):
    """Every fact that a class takes, none of them a default."""
    taken = inspect.signature(kind).parameters
    return {name: FACTS[name] for name in taken if name in FACTS}


def add_context(error, **context):
    """What the code above the one that raises an error adds to it."""
    for name, value in context.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize("kind", CLASSES, ids=lambda c: c.__name__)
def test_every_error_pickles_and_copies_with_all_its_facts(kind):
    facts = facts_of(kind)
    error = add_context(kind("what happened", **facts), **CONTEXT)  # type: ignore[arg-type]

    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - our own bytes
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert {name: getattr(twin, name) for name in facts | CONTEXT} == facts | CONTEXT


def test_every_error_has_the_facts_that_the_pages_name():
    for kind in CLASSES:
        error = kind("what happened")

        assert {name: getattr(error, name) for name in ALWAYS_THERE} == ALWAYS_THERE, kind
        assert error.errcode is None


def test_misspelt_fact_is_a_type_error():
    for kind in CLASSES:
        with pytest.raises(TypeError, match="ofset"):
            kind("what happened", ofset=40)
        with pytest.raises(TypeError, match="positional"):
            kind("what happened", "test-1")


def test_message_names_the_known_context():
    assert str(TcbError("the client was closed")) == "the client was closed"
    error = TransportError("no answer")
    error.offset = 40
    assert str(error) == "no answer (offset 40)"
    error = add_context(error, env="test-1", attempts=3, stop_reason="deadline")

    assert str(error) == "no answer (env 'test-1', offset 40, after 3 attempts, deadline)"
    assert error.message == "no answer"
    assert repr(error) == (
        """TransportError("no answer (env 'test-1', offset 40, after 3 attempts, deadline)")"""
    )
