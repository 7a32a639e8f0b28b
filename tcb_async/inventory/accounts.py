"""Accounts, their listings, and the merchants of a platform as accounts.

Rule: no repr shows a token, and a listing is complete or an error. A merchant without a valid
refresh token in WeChat's list becomes an account that fails, so that the results include it; so
does a merchant that the list hides, because a row repeats a different one, or has no valid appid.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from functools import partial
from typing import Literal, NoReturn

import attrs

from tcb_async._arguments import (
    check_async,
    check_env,
    check_instance,
    make_argument_error,
)
from tcb_async._credentials import check_appid, find_secret_problem
from tcb_async.client import TcbClient
from tcb_async.errcodes import DENIED, is_platform_refused
from tcb_async.exceptions import (
    ApiError,
    ClientClosedError,
    ConfigurationError,
    TcbError,
    TokenError,
)
from tcb_async.models import Authorizer, CloudFunction
from tcb_async.tokens import AuthorizerToken, ComponentToken, TokenProvider
from tcb_async.tokens.providers import COMPONENT_TOKEN, as_provider

_HIDDEN_PREFIX = "wx-hidden-"  # of the appid of a merchant that WeChat's list may hide
ACCOUNT_EXAMPLE = "such as Account(appid, token)"
CLIENT_EXAMPLE = "such as TcbClient(token)"


def _check_appid(appid: str) -> str:
    return check_appid("appid", appid)


def _check_envs(envs: Iterable[str] | None) -> tuple[str, ...] | None:
    if envs is None:
        return None
    if isinstance(envs, str) or not isinstance(envs, Iterable):
        raise make_argument_error("envs", envs, "must be a list of environment ids, or None")
    return tuple(map(check_env, envs))


@attrs.frozen(eq=False)
class Account:
    """One account of an inventory: a merchant of a platform, or your own app.

    Attributes:
        appid: Its appid.
        token: Anything that `TcbClient` accepts, such as an `AuthorizerToken`.
        envs: The ids of the environments to list, each of which must be listed; None for all.

    Raises:
        ConfigurationError: An argument is invalid.
    """

    appid: str = attrs.field(converter=_check_appid)
    token: TokenProvider = attrs.field(converter=as_provider, repr=False)
    envs: tuple[str, ...] | None = attrs.field(default=None, converter=_check_envs)


@attrs.define
class AccountCounts:
    """Numbers of accounts, environments and functions.

    Attributes:
        accounts: All accounts: of an inventory, those visited so far.
        complete: Accounts that were listed completely.
        failed: Accounts that failed for any reason except a denial.
        denied: Accounts that the caller may not list.
        environments: Environments that were listed, of the complete accounts.
        unavailable: Environments that WeChat refused to list, of the complete accounts.
        functions: Functions of the complete accounts.
    """

    accounts: int = 0
    complete: int = 0
    failed: int = 0
    denied: int = 0
    environments: int = 0
    unavailable: int = 0
    functions: int = 0


@attrs.frozen
class AccountListing:
    """The functions of an account, or the error of its listing.

    Attributes:
        account: The account.
        functions: Its functions by environment, empty environments included; empty after an error.
        error: The error; None if the account was listed completely.
        unavailable: Environments that WeChat refused to list, with their status, such as
            ``HALTED``: the account is complete without them.
    """

    account: Account
    functions: Mapping[str, tuple[CloudFunction, ...]] = attrs.field(
        factory=dict[str, "tuple[CloudFunction, ...]"]
    )
    error: TcbError | None = None
    unavailable: Mapping[str, str] = attrs.field(factory=dict[str, str])

    @property
    def status(self) -> Literal["complete", "failed", "denied"]:
        """``denied`` if the merchant, or WeChat, does not allow the caller to list the account."""
        if self.error is None:
            return "complete"
        return "denied" if self.error.errcode in DENIED else "failed"

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<AccountListing of {self.account.appid}, {self.status}: {self.error}>"
        functions = sum(map(len, self.functions.values()))
        without = f" without {', '.join(self.unavailable)}" if self.unavailable else ""
        return (
            f"<AccountListing of {self.account.appid}, complete{without}: {functions} functions in "
            f"{len(self.functions)} environments>"
        )


def is_fatal(error: TcbError) -> bool:
    """Whether every other account would fail in the same way, so that the inventory stops.

    True if the platform itself is refused, or the client was closed. An error about one merchant
    or its quota is not fatal.
    """
    if isinstance(error, ClientClosedError):
        return True
    if not isinstance(error, ApiError):
        return False
    if error.endpoint == COMPONENT_TOKEN and isinstance(error, TokenError):
        return True  # this covers an unreadable ticket
    return error.errcode is not None and is_platform_refused(error.errcode, error.endpoint)


async def iterate_accounts(
    accounts: Iterable[Account] | AsyncIterable[Account],
) -> AsyncGenerator[Account, None]:
    """Iterate over either kind of iterable, and check each item.

    An asynchronous generator is closed afterwards; a synchronous one is not, as in a ``for`` loop.
    """
    iterator = aiter(accounts) if isinstance(accounts, AsyncIterable) else _make_async(accounts)
    try:
        number = 0
        async for account in iterator:
            check_instance(f"accounts[{number}]", account, Account, ACCOUNT_EXAMPLE)
            number += 1
            yield account
    finally:
        if (close := getattr(iterator, "aclose", None)) is not None:
            await close()


async def _make_async(accounts: Iterable[Account]) -> AsyncGenerator[Account, None]:
    for account in accounts:
        yield account


def platform_accounts(
    client: TcbClient,
    *,
    on_rotate: Callable[[str, str], Awaitable[object]],
) -> AsyncGenerator[Account, None]:
    """Iterate over the merchants of a platform, as accounts for an `Inventory`.

    Args:
        client: A client made with a `ComponentToken`.
        on_rotate: Async callable that saves a new refresh token, called with the merchant's appid
            and the token, like ``on_rotate`` of an `AuthorizerToken`.

    Yields:
        An account for each merchant, once. It fails if WeChat's list has no valid refresh token
        for it. A row without a valid appid, or with the appid of an earlier row, may hide a
        merchant: it is an account that fails, with an appid that begins with ``wx-hidden-``.

    Raises:
        ConfigurationError: An argument is invalid; raised by the call itself.
        TcbError: The list of merchants could not be read; raised during the iteration.
    """
    check_instance("client", client, TcbClient, CLIENT_EXAMPLE)
    component = client.provider
    if not isinstance(component, ComponentToken):
        raise ConfigurationError(
            f"token={component!r}: only a ComponentToken has merchants; make the client with one"
        )
    check_async("on_rotate", on_rotate, "appid", "refresh_token")

    async def iterate() -> AsyncGenerator[Account, None]:
        yielded = 0
        async with client.authorizers() as pager:
            async for authorizer in pager:
                account = _make_account(component, authorizer, on_rotate)
                if account is not None:
                    yielded += 1
                    yield account
        for number in range(1, (pager.total or 0) - yielded + 1):
            yield make_failing_account(
                f"{_HIDDEN_PREFIX}{number}",
                f"WeChat's list has {pager.total} rows, but {yielded} different valid appids, so "
                "it may hide a merchant: run it again",
            )

    return iterate()


def _make_account(
    component: ComponentToken,
    authorizer: Authorizer,
    on_rotate: Callable[[str, str], Awaitable[object]],
) -> Account | None:
    """Make an account from a row of the platform's list; None if its appid is invalid."""
    try:
        appid = _check_appid(authorizer.authorizer_appid)
    except ConfigurationError:
        return None
    refresh_token = authorizer.refresh_token
    if refresh_token is None or find_secret_problem(refresh_token) is not None:
        return make_failing_account(
            appid,
            f"WeChat shows no valid refresh token for {appid}: use your saved refresh token, or "
            "have the merchant authorise the platform again, and exchange the code",
        )
    save = partial(on_rotate, appid)
    return Account(appid, AuthorizerToken(component, appid, refresh_token, on_rotate=save))


def make_failing_account(appid: str, reason: str, envs: Iterable[str] | None = None) -> Account:
    """Make an account that fails with this reason, without a request."""

    async def fail() -> NoReturn:
        raise ConfigurationError(reason)

    return Account(appid, fail, envs)


def is_hidden(appid: str) -> bool:
    """Whether an appid stands for a merchant that WeChat's list may hide."""
    return appid.startswith(_HIDDEN_PREFIX)
