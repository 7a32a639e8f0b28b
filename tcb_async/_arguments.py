"""Checks of arguments.

Rule: bad input is refused before any I/O. The error names the argument, its value and an accepted
value; of an argument that takes a secret or a body, it shows no value.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeGuard, TypeVar, cast, get_args

from tcb_async._redact import to_plain
from tcb_async.exceptions import ConfigurationError

_LONGEST_VALUE = 80  # characters of a bad value in a message
T = TypeVar("T")


def check_env(env: object) -> str:
    env = to_plain(env)
    if isinstance(env, str) and env and env == env.strip() and env.isprintable():
        return env
    is_padded = isinstance(env, str) and env.strip() not in ("", env)
    more = "; it has white space around it" if is_padded else ""
    raise make_argument_error(
        "env", env, f"must be the id of an environment, such as 'test-777bb9'{more}"
    )


def check_text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise make_argument_error(name, value, "must be a str, and not empty")
    return to_plain(value)


def check_file(name: str, value: str | os.PathLike[str]) -> str:
    """Return the path of a file as a str."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise make_argument_error(name, value, "must be the path of a file, as a str or a Path")
    return os.fsdecode(value)


def check_count(name: str, value: object, *, minimum: int, maximum: int | None = None) -> int:
    highest = sys.maxsize if maximum is None else maximum
    if isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= highest:
        return value
    is_too_large = isinstance(value, int) and value > highest
    if maximum is not None or is_too_large:
        bounds = f" from {minimum} to {highest}"
    else:
        bounds = f", {minimum} or more"
    raise make_argument_error(name, value, f"must be a whole number{bounds}")


def check_flag(name: str, value: object) -> bool:
    """Return True or False. The text "false" of an environment variable would be true."""
    if not isinstance(value, bool):
        raise make_argument_error(name, value, "must be True or False")
    return value


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_seconds(name: str, value: object, *, also: float | None = None) -> float:
    """Return a number of seconds, which is above 0, or the value ``also``."""
    # A larger int cannot be converted to a float.
    if is_number(value) and (0 < value <= sys.float_info.max or value == also):
        return float(value)
    expected = "must be a finite number of seconds above 0"
    raise make_argument_error(name, value, expected if also is None else f"{expected}, or {also:g}")


def check_instance(name: str, value: object, kind: type, example: str) -> None:
    """Refuse a value of a different type."""
    # If `kind` is a protocol, a class with its methods would pass, too.
    if isinstance(value, type) or not isinstance(value, kind):
        expected = f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}, {example}"
        raise ConfigurationError(f"{name} is of type {type(value).__name__}: must be {expected}")


def check_callback(name: str, value: object) -> None:
    if not callable(value) or inspect.iscoroutinefunction(value):
        raise make_argument_error(name, value, "must be a function that is not async")


def check_items(name: str, value: Iterable[T], kind: type[T]) -> tuple[T, ...]:
    if isinstance(value, Iterable) and not isinstance(value, str):
        items = tuple(value)
        if all(isinstance(item, kind) for item in items):
            return items
    kinds = " or ".join(f"{each.__name__}s" for each in get_args(kind) or (kind,))
    raise make_argument_error(name, value, f"must be a list of {kinds}")


def check_fields(name: str, fields: object) -> Mapping[str, Any]:
    """Return the fields of a request's body or query; {} for None."""
    if fields is None:
        return {}
    kind = type(fields).__name__
    if isinstance(fields, Mapping):
        mapping = cast("Mapping[object, Any]", fields)
        if all(isinstance(key, str) for key in mapping):
            return cast("Mapping[str, Any]", mapping)
    raise ConfigurationError(
        f"is of type {kind}: must be a mapping with str keys, such as {{'env': env}}",
        argument=name,
    )


def make_argument_error(name: str, value: object, expected: str) -> ConfigurationError:
    return ConfigurationError(expected, argument=name, value=show_value(value))


def show_value(value: object) -> str:
    """Return the repr of a value, cut to 80 characters; its type if the repr fails."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the caller's own code, or a number of 5,000 digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"


AsyncCallable = TypeVar("AsyncCallable", bound="Callable[..., Awaitable[object]]")


def check_async(name: str, value: AsyncCallable, *arguments: str) -> AsyncCallable:
    """Refuse what is not callable, and a function that is not async or takes other arguments.

    Only functions and methods are examined.
    """
    function: object = value
    if not callable(function):
        kind = type(value).__name__
        raise ConfigurationError(f"{name} is of type {kind}: must be an async callable")
    if not inspect.isroutine(function):
        return value
    # An async wrapper may call a function in a thread, which is not async.
    if not inspect.iscoroutinefunction(inspect.unwrap(function, stop=inspect.iscoroutinefunction)):
        raise ConfigurationError(f"{name} is not async: write it with async def")
    with suppress(TypeError):
        inspect.signature(function, follow_wrapped=False).bind(*arguments)
        return value
    raise ConfigurationError(f"{name} must be callable with ({', '.join(arguments)})")
