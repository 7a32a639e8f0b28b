"""A visit to one account: its environments, and every function of each.

Rule: idempotent; whatever the account does wrong is a value in the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from tcb_async._redact import Secret
from tcb_async.exceptions import TcbError, TokenError
from tcb_async.inventory.account import AccountListing, ends_inventory, has_no_cloud
from tcb_async.tokens.arguments import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from tcb_async.inventory.account import Account
    from tcb_async.models import CloudFunction, Environment
    from tcb_async.pagination.pager import Pager
    from tcb_async.tokens import TokenApi, TokenKind, TokenProvider

__all__ = ["AccountClient", "CarefulToken", "visit"]


class AccountClient(Protocol):
    """What is needed of the client of one account."""

    @property
    def list_environments(self) -> Callable[[], Coroutine[Any, Any, Sequence[Environment]]]:
        """Ask for the account's environments."""
        ...

    @property
    def functions(self) -> Callable[..., Pager[CloudFunction]]:
        """Prepare a walk over the functions of an environment."""
        ...


class CarefulToken:
    """An account's token; whatever the provider raises, that account alone fails with it."""

    __slots__ = ("_account",)

    def __init__(self, account: Account) -> None:
        self._account = account

    async def get_token(self, api: TokenApi) -> str | Secret:
        """Ask the account's own provider.

        Raises:
            TcbError: It has none.
        """
        try:
            return await self._provider.get_token(api)
        except TcbError:
            raise
        except Exception as error:  # noqa: BLE001 - the caller's own code
            problem = describe(error)
        raise TokenError(
            f"the token of {self._account.appid} could not be fetched ({problem}): see the code "
            "that fetches it"
        )

    async def invalidate(self, token: str | Secret) -> None:
        """Tell the account's own provider."""
        token = Secret(token)
        await self._provider.invalidate(token.reveal())

    @property
    def kind(self) -> TokenKind | None:
        """The kind of the account's own token, if it says so."""
        return getattr(self._provider, "kind", None)

    def __repr__(self) -> str:
        return repr(self._provider)

    @property
    def _provider(self) -> TokenProvider:
        return self._account.token


def _one() -> int:
    return 1


async def visit(
    client: AccountClient, account: Account, *, share: Callable[[], int] = _one
) -> AccountListing:
    """List every function of an account.

    Args:
        client: A client that has the account's token.
        account: The account.
        share: How many requests the visit may have in flight now.

    Returns:
        Everything that the account has, or the error that it failed with.

    Raises:
        TcbError: The platform itself is refused, or the client was closed: every other account
            would meet the same.
    """
    try:
        return AccountListing(account, await _functions(client, account, share))
    except TcbError as error:
        if ends_inventory(error):
            raise
        if account.envs is None and has_no_cloud(error):
            return AccountListing(account)
        failure = error
    # A listing may be kept for long, and the frames of a traceback hold whole pages.
    failure.__traceback__ = failure.__context__ = failure.__cause__ = None
    return AccountListing(account, error=failure)


async def _functions(
    client: AccountClient, account: Account, share: Callable[[], int]
) -> dict[str, tuple[CloudFunction, ...]]:
    envs = account.envs
    if envs is None:
        envs = tuple(environment.env for environment in await client.list_environments())
    found: dict[str, tuple[CloudFunction, ...]] = {}
    for env in envs:
        functions: list[CloudFunction] = []
        async with client.functions(env, concurrency=share()) as pager:
            async for page in pager.by_page():
                functions.extend(page.items)
                pager.concurrency = share()
        found[env] = tuple(functions)
    return found
