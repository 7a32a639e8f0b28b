"""Choice between WeChat and the demonstration.

Rule: usage errors come first. The client and the emulator are imported after them, because
``--help``, completion and usage errors need neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cyclopts import CycloptsError

from tcb_async.cli.options import Credentials, Platform

if TYPE_CHECKING:
    from tcb_async.cli.accounts import OpenAccounts
    from tcb_async.cli.credentials import Service


def find_service(
    env: str | None,
    access: Credentials,
    *,
    needs_env: bool = True,
    is_changing: bool = False,
    others: Sequence[str] = (),
) -> Service:
    """Find the service of a command, and the credentials for it."""
    if needs_env and env is None and not access.demo:
        raise CycloptsError("ENV: name an environment, or pass --demo")
    if access.token_file is not None and access.appid is not None:
        raise CycloptsError("--token-file: name a token or an app, not both")
    if access.demo:
        from tcb_async.cli.demo import serve_demo  # noqa: PLC0415 - the emulator

        return serve_demo(env, is_changing=is_changing, others=others)
    from tcb_async.cli.credentials import find_wechat  # noqa: PLC0415 - the client

    return find_wechat(env or "", access)


def find_accounts(access: Platform) -> OpenAccounts:
    """Find many accounts: read and check everything that needs no request."""
    if access.appid is not None and (access.accounts or access.component_appid):
        raise CycloptsError("--appid: name an app of your own, or a platform or a file; not both")
    if access.demo:
        from tcb_async.cli.demo import open_demo_merchants  # noqa: PLC0415 - the emulator

        return open_demo_merchants
    from tcb_async.cli import accounts  # noqa: PLC0415 - the client

    return accounts.find_accounts(access)
