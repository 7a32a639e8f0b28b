"""Awaiting the callbacks and stores of users, which may treat cancellations as they like.

Rule: a cancellation of the caller is raised as such, and no other one is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def call_user_code(call: Callable[[], Awaitable[T]]) -> T:
    """Await user code; raise `CancelledError` if, and only if, this task was cancelled.

    Any other `CancelledError` of the code becomes a `RuntimeError`.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        result = await call()
    except asyncio.CancelledError:
        if task.cancelling() > before:
            raise
        raise RuntimeError("a task that it awaited was cancelled") from None
    except Exception:
        if task.cancelling() > before:  # the code replaced the cancellation by its own error
            raise asyncio.CancelledError from None
        raise
    # redis-py waits with `asyncio.wait_for`, which swallows some cancellations in Python 3.11.
    if task.cancelling() > before:
        raise asyncio.CancelledError
    return result
