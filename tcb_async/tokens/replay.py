"""A call whose token may be refused.

Rule: WeChat itself is asked for a token before a refusal is raised, and nothing is sent more than
three times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tcb_async._redact import Secret
from tcb_async.errcodes import STALE_TOKEN
from tcb_async.exceptions import TokenError
from tcb_async.tokens.managed import ManagedToken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tcb_async.tokens.protocols import TokenApi, TokenProvider

__all__ = ["call_with_token"]

_REPLAYS = 2

Result = TypeVar("Result")


async def call_with_token(
    provider: TokenProvider, api: TokenApi, call: Callable[[Secret], Awaitable[Result]]
) -> Result:
    """Call with the token of a provider, and again with a newer one if WeChat refuses it.

    There is one replay. There is a second if the token of the first came through a store: it may
    have died like the one before, and only then is WeChat asked.

    Args:
        provider: Provides the token, and is told of each that is refused.
        api: What it asks WeChat with.
        call: Makes the call with the token that it is given.

    Raises:
        TokenError: WeChat refused the newest token too.
        TcbError: Whatever the provider or the call raised.
    """
    token = Secret.of(await provider.get_token(api))
    refused: list[Secret] = []
    while True:
        try:
            return await call(token)
        except TokenError as error:
            if error.errcode not in STALE_TOKEN:
                raise
            failure = error
        if refused and (len(refused) == _REPLAYS or _came_from_wechat(provider, token)):
            raise failure
        await provider.invalidate(token.reveal())
        refused.append(token)
        token = Secret.of(await provider.get_token(api))
        if token in refused:
            raise failure


def _came_from_wechat(provider: TokenProvider, token: Secret) -> bool:
    return not isinstance(provider, ManagedToken) or provider.came_from_wechat(token)
