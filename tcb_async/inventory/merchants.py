"""The merchants of a platform, as accounts.

Rule: a merchant whose refresh token WeChat does not show is an account that fails, and is named.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tcb_async.exceptions import ConfigurationError
from tcb_async.inventory.account import Account
from tcb_async.tokens import AuthorizerToken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import ClassVar, NoReturn

    from tcb_async.models import Authorizer
    from tcb_async.tokens import ComponentToken, TokenApi, TokenKind

__all__ = ["merchant_account"]


def merchant_account(
    component: ComponentToken,
    authorizer: Authorizer,
    on_rotate: Callable[[str, str], Awaitable[object]],
) -> Account:
    """Make an account of a merchant.

    Args:
        component: The platform.
        authorizer: The merchant, as the platform's list has it.
        on_rotate: Async callable that is given an appid and its new refresh token, and saves it.
    """
    appid = authorizer.authorizer_appid
    try:
        token: AuthorizerToken | _NoToken = AuthorizerToken.from_authorizer(
            component, authorizer, on_rotate=partial(on_rotate, appid)
        )
    except ConfigurationError as error:
        token = _NoToken(error.message)
    return Account(appid, token)


class _NoToken:
    """Stands for the token of a merchant that has none."""

    kind: ClassVar[TokenKind] = "authorizer"

    def __init__(self, why: str) -> None:
        self._why = why

    async def get_token(self, api: TokenApi) -> NoReturn:  # noqa: ARG002 - the protocol's
        """Say why there is none."""
        raise ConfigurationError(self._why)

    async def invalidate(self, token: str) -> None:
        """Do nothing: there is no token."""
