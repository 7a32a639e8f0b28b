"""Checks of what a caller passes: appids, secrets, callables, providers; and calls of their code.

Rule: a secret is wrapped before anything is said about it, and what is said does not show it.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from typing import TYPE_CHECKING, TypeVar

from tcb_async._redact import MASK, Hidden, Secret, redact
from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tcb_async.tokens.protocols import TokenKind

__all__ = [
    "answer_of",
    "check_kind",
    "checked_appid",
    "checked_async",
    "checked_instance",
    "checked_secret",
    "describe",
    "fault_of",
]

_KINDS: dict[str, str] = {
    "access": "an app's access token (StableToken, ClassicToken)",
    "authorizer": "a merchant's access token (AuthorizerToken)",
    "component": "a platform's access token (ComponentToken)",
}
_APPID = re.compile(r"[A-Za-z0-9_-]{1,64}")
Answer = TypeVar("Answer")
AsyncCallable = TypeVar("AsyncCallable", bound="Callable[..., Awaitable[object]]")


def fault_of(hidden: Hidden[object]) -> str | None:
    """Say why something cannot be a token, secret or ticket, without showing it; None if it can."""
    value = hidden.reveal()
    if not isinstance(value, str):
        return f"is of type {type(value).__name__}, not str"
    if not value:
        return "is empty"
    if MASK in value:
        return "is what a Secret shows instead of its text: take what its reveal() returns"
    if any(character.isspace() for character in value):
        return "holds white space (a line end from a file, perhaps)"
    return None if value.isprintable() else "holds a control character"


def checked_secret(what: str, value: Secret) -> Secret:
    """Return a secret that can be one.

    Args:
        what: How the caller knows it.
        value: What should be a secret. It is wrapped by whoever was given it, before anything
            else: the error's traceback shows that frame too.

    Raises:
        ConfigurationError: It is no str, or holds what no secret of WeChat's does.
    """
    if (fault := fault_of(value)) is not None:
        raise ConfigurationError(f"{what} {fault}: it must be a str as WeChat gave it")
    return value


def checked_appid(what: str, value: Secret) -> str:
    """Return an appid that can be one.

    Args:
        what: How the caller knows it.
        value: The appid; wrapped, as it may be a secret in the wrong place.

    Raises:
        ConfigurationError: It is no string of ASCII letters, digits, hyphens and underscores.
    """
    fault = fault_of(value)
    if fault is None and not _APPID.fullmatch(value.reveal()):
        fault = "holds a character that no appid has, or too many"
    if fault is not None:
        raise ConfigurationError(f"{what} {fault}: it must be a str such as wx0123456789abcdef")
    return value.reveal()


def check_kind(provider: object, kinds: Sequence[TokenKind], path: str) -> None:
    """Refuse a token of a kind that an endpoint does not take, before anything is sent.

    Args:
        provider: Whoever provides the token. Its attribute ``kind`` says the kind; a plain token,
            and a provider without the attribute, may be of any.
        kinds: What the endpoint takes.
        path: The endpoint.

    Raises:
        ConfigurationError: It is of another kind.
    """
    kind: object = getattr(provider, "kind", None)
    if isinstance(kind, str) and kind in _KINDS and kind not in kinds:
        raise ConfigurationError(
            f"{path} is called with {' or '.join(map(_KINDS.__getitem__, kinds))}, and "
            f"{type(provider).__name__} provides {_KINDS[kind]}"
        )


def checked_async(what: str, value: AsyncCallable) -> AsyncCallable:
    """Return a callable, unless it is seen not to be async.

    Args:
        what: How the caller knows it.
        value: The callable. An object that is called may hide that it is not async until then.

    Raises:
        ConfigurationError: It cannot be called, or is a plain function.
    """
    given: object = value
    if not callable(given):
        raise ConfigurationError(
            f"{what} is of type {type(value).__name__}: it must be an async callable"
        )
    if inspect.isroutine(given) and not inspect.iscoroutinefunction(inspect.unwrap(given)):
        raise ConfigurationError(f"{what} is not async: write it with async def")
    return value


def checked_instance(what: str, value: object, kind: type, example: str) -> None:
    """Refuse what is not of a kind.

    Args:
        what: How the caller knows it.
        value: What was given.
        kind: What it has to be.
        example: What to say after the name of the kind.

    Raises:
        ConfigurationError: It is something else.
    """
    if not isinstance(value, kind):
        raise ConfigurationError(
            f"{what} is of type {type(value).__name__}: it must be a {kind.__name__}, {example}"
        )


async def answer_of(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Await somebody else's code: it neither swallows a cancellation nor makes one up.

    redis-py waits with `asyncio.wait_for`, which swallows some in Python 3.11. And whoever awaits a
    task that has been cancelled gets a `CancelledError` without having been cancelled.

    Args:
        call: What is called and awaited.

    Raises:
        asyncio.CancelledError: The task that runs this was cancelled.
        RuntimeError: Something that it waited for was cancelled.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one
    before: float = task.cancelling()
    try:
        return await call()
    except asyncio.CancelledError:
        if task.cancelling() > before:
            before = math.inf  # it is raised as it came: anyio reads its text
            raise
    finally:
        if task.cancelling() > before:
            raise asyncio.CancelledError
    raise RuntimeError("something that it waited for was cancelled")


def describe(error: Exception, *secrets: Secret) -> str:
    """Name an error of somebody else's code, with secrets hidden in its text."""
    text = redact(str(error), secrets, length=200)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
