"""``tcb-async inventory``: every function of many accounts, into the file of a night.

Rule: the file has each account as soon as it is complete, so the same command resumes where this
one stopped. The report is read from the file, as any later command reads it.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from cyclopts import App, CycloptsError

import tcb_async
from tcb_async._credentials import check_appid
from tcb_async.cli.account_sources import prepare_accounts
from tcb_async.cli.exits import judge_night, run_command
from tcb_async.cli.files import check_writable
from tcb_async.cli.formats import NIGHT_SUFFIX
from tcb_async.cli.nights import report_missing
from tcb_async.cli.options import PLATFORM_PRICE, ManyAccounts, Quiet, Requests
from tcb_async.cli.progress import progress_bar
from tcb_async.cli.screen import Screen, plural
from tcb_async.exceptions import ConfigurationError, TcbError

if TYPE_CHECKING:
    from tcb_async.client import TcbClient
    from tcb_async.inventory import (
        Account,
        AccountCounts,
        Inventory,
        NightWriter,
    )

_ABSENT = (
    "it is not in WeChat's list of the platform's merchants: it may have withdrawn, or the list "
    "hides it (then run the command again)"
)

inventory_command: App = App(
    name="inventory",
    usage="tcb-async inventory [OPTIONS] [FILE]",
    help_epilogue=rf"""[bold]Examples[/bold]
  tcb-async inventory --demo
  tcb-async inventory nights/2026-01-31.sqlite \
    --component-appid wx00112233445566aa \
    --ticket-file ticket.txt
  tcb-async inventory nights/2026-01-31.sqlite \
    --accounts merchants.ndjson

A file is a night. The same command resumes where it
stopped, and retries failed accounts, for 20 hours; later
the file is refused: name a new one every night.

A line of --accounts is
{{"appid": "wx…", "access_token": "…"}}, and may have
"envs": ["…"] to list only these environments. Without an
access_token, the account fails alone.

{PLATFORM_PRICE}

[bold]Exit codes[/bold]
    0  every account is complete
    5  none is complete, or the service or the network
       failed
    6  some accounts are missing
  stderr names the missing accounts.
  All others are in tcb-async --help.""",
)


@inventory_command.default
def list_inventory(
    file: Path | None = None,
    /,
    *,
    quiet: Quiet = False,
    requests: Requests = Requests(),
    access: ManyAccounts = ManyAccounts(),
) -> None:
    """List every function of many accounts, into an SQLite file.

    Args:
        file: The file of this night, such as nights/2026-01-31.sqlite.
    """
    with run_command(verbose=access.verbose, quiet=quiet) as screen:
        if file is None and not access.demo:
            raise CycloptsError("FILE: name the file of this night, such as 2026-01-31.sqlite")
        if file is not None:
            if file.suffix.lower() != NIGHT_SUFFIX:
                raise CycloptsError(f"FILE: {file} must end with {NIGHT_SUFFIX}")
            check_writable("FILE", file)
        _check_merchants(access)
        service, accounts = prepare_accounts(access, screen)
        with contextlib.ExitStack() as stack:
            # --demo without a file: the night is deleted with its folder.
            path = file or Path(stack.enter_context(tempfile.TemporaryDirectory()), "demo.sqlite")
            merchants = frozenset(access.merchant or ())
            began = time.monotonic()
            # It is opened first: a refused night must not cost the platform its token.
            with tcb_async.inventory.NightWriter(path) as writer:
                job = InventoryJob(writer, file is not None, screen, accounts, merchants, requests)
                service.run(job.work, requests.concurrency)
            seconds = time.monotonic() - began
            with tcb_async.inventory.Night(path) as night:
                missing = report_missing(night, screen)
                counts = night.read_counts()
        screen.note(_summarize_counts(counts, job.request_count, seconds))
    if missing:
        sys.exit(judge_night(counts.complete))


def _check_merchants(access: ManyAccounts) -> None:
    if access.merchant and access.source != "platform":
        raise CycloptsError("--merchant: it chooses from the merchants of --component-appid")
    for appid in access.merchant or ():
        check_appid("--merchant", appid)


@attrs.define
class InventoryJob:
    """One inventory at the terminal, from the list of accounts to the last of them."""

    night: NightWriter
    is_kept: bool  # a night that is deleted cannot be resumed
    screen: Screen
    accounts: Sequence[Account] | None  # None for the merchants of the platform
    merchants: frozenset[str]  # the chosen merchants of the platform; empty for all
    requests: Requests
    request_count: int = attrs.field(init=False, default=0)
    total: int = attrs.field(init=False, default=0)  # accounts; 0 until their list is known
    complete_before: int = attrs.field(init=False, default=0)  # of them, not listed again

    async def work(self, client: TcbClient) -> None:
        import asyncio  # noqa: PLC0415 - --help is faster

        # The inventory reads the list of accounts too, so it counts all requests.
        inventory = tcb_async.Inventory(
            client, self._list_unfinished(client), page_size=self.requests.page_size
        )
        try:
            async with inventory:
                await self._list(inventory)
        except ConfigurationError:  # its message names a change that is necessary first
            raise
        except (TcbError, asyncio.CancelledError):
            self._advise_to_resume(inventory.counts)
            raise
        self.request_count = inventory.requests

    async def _list_unfinished(self, client: TcbClient) -> AsyncGenerator[Account]:
        """Store the list of accounts, and yield those that the night does not have yet."""
        accounts = self.accounts
        if accounts is None:
            accounts = await self._list_merchants(client)
        unfinished = self.night.begin(accounts)
        self.total = len(accounts)
        self.complete_before = self.total - len(unfinished)
        if self.complete_before and self.night.began is not None:
            began = self.night.began.isoformat(" ", "minutes")
            self.screen.note(
                f"not listed again: {plural(self.complete_before, 'account')} of "
                f"{self.night.path}, listed since {began}; to list them again, name a new file"
            )
        for account in unfinished:
            yield account

    async def _list_merchants(self, client: TcbClient) -> list[Account]:
        merchants = tcb_async.platform_accounts(client, on_rotate=self._report_rotation)
        accounts = [merchant async for merchant in merchants]
        if not self.merchants:
            return accounts
        from tcb_async.inventory.accounts import (  # noqa: PLC0415 - --help is faster
            make_failing_account,
        )

        by_appid = {account.appid: account for account in accounts}
        return [
            by_appid.get(appid) or make_failing_account(appid, _ABSENT)
            for appid in sorted(self.merchants)
        ]

    async def _report_rotation(self, appid: str, _refresh_token: str) -> None:
        self.screen.say(
            f"WeChat replaced the refresh token of {appid}: a service that stored the old one must "
            "fetch the new one from the list of merchants"
        )

    async def _list(self, inventory: Inventory) -> None:
        """List the accounts with a bar, and store each as soon as it is finished."""
        with progress_bar(self.screen) as bar:
            task = bar.add_task("accounts", total=None, facts="")
            async for listing in inventory:
                self.night.save(listing)
                bar.update(
                    task,
                    completed=inventory.counts.accounts + self.complete_before,
                    total=self.total,
                    facts=_describe_counts(inventory.counts),
                )

    def _advise_to_resume(self, counts: AccountCounts) -> None:
        if self.total and self.is_kept:
            complete = counts.complete + self.complete_before
            self.screen.say(
                f"{complete:,} of {plural(self.total, 'account')} are complete: run the same "
                "command again to resume"
            )


def _describe_counts(counts: AccountCounts) -> str:
    functions = plural(counts.functions, "function")
    failed = counts.failed + counts.denied
    return f"{failed:,} failed, {functions}" if failed else functions


def _summarize_counts(counts: AccountCounts, requests: int, seconds: float) -> str:
    environments = plural(counts.environments, "environment")
    without = f", without {counts.unavailable:,} unavailable" if counts.unavailable else ""
    return (
        f"{counts.complete:,} of {plural(counts.accounts, 'account')}, "
        f"{plural(counts.functions, 'function')} in {environments}{without} "
        f"({plural(requests, 'request')}, {seconds:.1f} s)"
    )
