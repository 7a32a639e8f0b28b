"""``tcb-async inventory``: every function of many accounts, into SQLite.

Rule: invalid files, and a file that two options name, are refused before any request. The store
has each account as soon as it is complete, so the same command resumes where this one stopped.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import App, CycloptsError, Parameter
from rich.progress import TimeRemainingColumn

import tcb_async
from tcb_async.cli.account_sources import choose_accounts
from tcb_async.cli.exits import ExitCode, run_command
from tcb_async.cli.files import check_writable, open_output, output_path
from tcb_async.cli.formats import FIELDS, FORMATS, STORES, TABLE, Format, choose_format
from tcb_async.cli.options import (
    ACCOUNTS,
    OUTPUT,
    File,
    FileOrStream,
    ManyAccounts,
    Quiet,
    Requests,
)
from tcb_async.cli.progress import progress_bar
from tcb_async.cli.screen import Screen, plural
from tcb_async.exceptions import ConfigurationError, DailyQuotaError, TcbError

if TYPE_CHECKING:
    import tcb_async.inventory.store
    from tcb_async.client import TcbClient
    from tcb_async.inventory import (
        Account,
        Inventory,
        InventoryRun,
        InventoryStore,
        InventorySummary,
        RunProgress,
    )

_EXPORT_COLUMNS = ("appid", "env", *FIELDS, "first_seen_run", "last_seen_run", "stale")

inventory_command: App = App(
    name="inventory",
    help_epilogue=r"""[bold]Examples[/bold]
  tcb-async inventory --demo
  tcb-async inventory -o inventory.sqlite \
    --component-appid wx00112233445566aa \
    --ticket-file ticket.txt
  tcb-async inventory --accounts merchants.ndjson \
    -o all.csv --summary summary.json
  sqlite3 inventory.sqlite 'select * from missing'

A run is a day in China: the same command on the same day
resumes where it stopped, and retries failed accounts.

A line of --accounts is
{"appid": "wx…", "access_token": "…"}, and may have
"envs": ["…"] to list only these environments.

Exit code 6: finished, but accounts are missing; stderr
names them. The others are in tcb-async --help.""",
)


def _check_run(_type: object, run: str | None) -> None:
    if run is None:
        return
    today = tcb_async.inventory.store.china_now().date().isoformat()
    if problem := tcb_async.inventory.store.find_problem(run, today):
        raise ValueError(problem)


@inventory_command.default
def list_inventory(
    *,
    output: Annotated[File, Parameter(("--output", "-o"), group=OUTPUT)] = None,
    summary: Annotated[FileOrStream, Parameter(group=OUTPUT)] = None,
    run: Annotated[
        str | None, Parameter(group=OUTPUT, metavar="DATE", validator=_check_run)
    ] = None,
    again: Annotated[list[str] | None, Parameter(group=ACCOUNTS, metavar="APPID")] = None,
    quiet: Quiet = False,
    requests: Requests = Requests(),
    access: ManyAccounts = ManyAccounts(),
) -> None:
    """List every function of many accounts, into SQLite.

    Args:
        output: The SQLite file. Or .csv, .ndjson or .json: an export of the .sqlite file beside it.
        summary: Write the counts to a file, as JSON. - is stdout.
        run: The run to continue, such as 2026-01-31. Default: today in China.
        again: List this account again, for instance after its token was corrected. May be repeated.
    """
    with run_command(verbose=access.verbose, level=logging.WARNING) as screen:
        if output is None and not access.demo:
            raise CycloptsError("--output: name a file, such as inventory.sqlite")
        files = Files.choose(output, summary)
        files.check(access)
        # Taken before the file is read, so that a change during the read is noticed.
        was_rewritten = partial(_was_rewritten, access.accounts, _last_written(access.accounts))
        service, known = choose_accounts(access, file=access.accounts, app=access.appid)
        job = InventoryJob(
            files,
            screen,
            source=service.owner,
            accounts=known,
            run=run,
            again=again or (),
            page_size=requests.page_size,
            was_rewritten=was_rewritten,
            is_quiet=quiet,
        )
        service.run(job.work, requests.concurrency)
        if job.missing:
            sys.exit(ExitCode.MISSING)


def _last_written(path: str | None) -> tuple[int, ...]:
    """Return the identity, the size and the time of a file; nothing for stdin."""
    if path is None or not Path(path).is_file():
        return ()
    state = Path(path).stat()
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _was_rewritten(path: str | None, before: tuple[int, ...]) -> bool:
    # A new file of the same name does not matter: the old one was read as a whole.
    now = _last_written(path)
    return now != before and now[:2] == before[:2]


@attrs.frozen
class Files:
    """Files to write: a store (without a path, a temporary one), an export and its format."""

    path: Path | None
    export: str | None
    format: Format
    summary: str | None

    @classmethod
    def choose(cls, output: str | None, summary: str | None) -> Files:
        """Return the SQLite file that ``--output`` means, and the other files."""
        if output is None:
            return cls(None, None, TABLE, summary)
        path = Path(output)
        output_format = choose_format(path, STORES, "use one of")
        if output_format is None:
            return cls(path, None, TABLE, summary)
        return cls(path.with_suffix(".sqlite"), output, output_format, summary)

    def check(self, access: ManyAccounts) -> None:
        """Refuse files that cannot be written, and a file that two options name."""
        output_path(self.export)
        output_path(self.summary, "--summary")
        named: dict[Path, str] = {}
        for name, file in (
            ("--accounts", access.accounts),
            ("--ticket-file", access.ticket_file),
            ("--secret-file", access.secret_file),
            ("--output", self.path),
            ("--output", self.export),
            ("--summary", self.summary),
        ):
            if file is None or file == "-":
                continue
            if (other := named.setdefault(Path(file).resolve(), name)) != name:
                raise CycloptsError(
                    f"{name}: {file} is already used by {other}: name a different file"
                )
        if self.path is not None:
            check_writable("--output", str(self.path))


@attrs.define
class InventoryJob:
    """One inventory at the terminal, from the first account to the last file."""

    files: Files
    screen: Screen
    source: str
    accounts: Sequence[Account] | None
    run: str | None
    again: Collection[str]
    page_size: int | None
    was_rewritten: Callable[[], bool]
    is_quiet: bool
    missing: int = 0
    # Merchants that the platform's list has twice: for each, a different one may be missing.
    repeated: list[str] = attrs.field(init=False, factory=list[str])

    async def work(self, client: TcbClient) -> None:
        # --demo without --output: the store is deleted with its folder.
        with (
            tempfile.TemporaryDirectory() as folder,
            tcb_async.inventory.InventoryStore(
                self.files.path or Path(folder, "inventory.sqlite")
            ) as store,
        ):
            begun = store.begin(self.run, source=self.source)
            accounts = self.accounts or tcb_async.platform_accounts(
                client, on_rotate=_ignore_rotation, on_repeated=self.repeated.extend
            )
            unfinished = begun.unfinished(accounts, again=self.again)
            inventory = tcb_async.Inventory(client, unfinished, page_size=self.page_size)
            async with contextlib.aclosing(unfinished), inventory:
                await self._list(inventory, begun)
            if self.was_rewritten():  # the run remains unfinished, so no comparison trusts it
                self.screen.say(
                    "the accounts file was written during the run, so accounts may be missing: run "
                    "the command again; to change the file, write a new one and rename it"
                )
                self.missing = 1
                return
            import asyncio  # noqa: PLC0415 - --help is faster

            await asyncio.to_thread(begun.finish)  # so that the loop handles Ctrl-C
            progress = store.progress(begun.run)
            assert progress is not None
            # Reported first: the reader of a file or of stdout may leave, and then writing fails.
            self._report(store, progress, inventory.summary)
            self._write_files(store, progress, inventory.summary, begun.skipped)

    async def _list(self, inventory: Inventory, run: InventoryRun) -> None:
        """List the accounts, and store each as soon as it is complete."""
        time = TimeRemainingColumn(compact=True)
        try:
            with progress_bar(self.screen, time) as bar:
                task = bar.add_task("accounts", total=None, facts="")
                async for listing in inventory:
                    run.save(listing)
                    summary = inventory.summary
                    done = summary.accounts + run.skipped
                    bar.update(
                        task, completed=done, total=run.planned, facts=_describe_summary(summary)
                    )
        except ConfigurationError:  # its message names a change that is necessary first
            raise
        except TcbError as error:
            advice = "run the same command again to resume"
            if isinstance(error, DailyQuotaError):
                advice = f"resume tomorrow, with --run {run.run}"
            if run.planned:  # otherwise WeChat refused the platform before any account was known
                complete = inventory.summary.complete + run.skipped
                accounts = plural(run.planned, "account")
                self.screen.say(f"{complete:,} of {accounts} are complete: {advice}")
            raise

    def _write_files(
        self, store: InventoryStore, progress: RunProgress, cost: InventorySummary, skipped: int
    ) -> None:
        if self.files.export is not None:
            rows = FORMATS[self.files.format](_EXPORT_COLUMNS).parts(store.functions())
            parts = _wrap_json(store, progress, rows) if self.files.format == "json" else rows
            self._write(output_path(self.files.export), parts)
        if self.files.summary is not None:
            facts = {
                **progress.to_dict(),
                "skipped": skipped,
                "requests": cost.requests,
                "retries": cost.retries,
                "seconds": round(cost.seconds, 3),
            }
            text = json.dumps(facts, indent=1) + "\n"
            self._write(output_path(self.files.summary, "--summary"), [text.encode()])

    def _write(self, path: Path | None, parts: Iterable[bytes]) -> None:
        """Write a file, or to stdout. A reader that leaves early does not change the exit code."""
        with contextlib.suppress(BrokenPipeError):
            if path is None:
                self.screen.write(b"".join(parts))
            else:
                with open_output(path) as file:
                    file.writelines(parts)

    def _report(self, store: InventoryStore, progress: RunProgress, cost: InventorySummary) -> None:
        sentences = (
            f"{account.appid} is missing ({account.status}): {account.message}"
            for account in store.missing()
        )
        self.missing = self.screen.say_each(sentences, "… and {:,} more in the view missing")
        self.missing += len(self.repeated)
        if progress.departed:
            departed = plural(
                progress.departed,
                "account of the last run was not in this list and is",
                "accounts of the last run were not in this list and are",
            )
            self.screen.say(f"{departed} recorded as departed")
        if not self.is_quiet:
            environments = plural(progress.environments, "environment")
            without = ""
            if progress.unavailable:
                without = f", without {progress.unavailable:,} unavailable"
            self.screen.say(
                f"{progress.complete:,} of {plural(progress.accounts, 'account')}, "
                f"{plural(progress.functions, 'function')} in {environments}{without} "
                f"({plural(cost.requests, 'request')}, {cost.seconds:.1f} s)"
            )


async def _ignore_rotation(appid: str, refresh_token: str) -> None:
    """Do nothing: the next list of merchants has the new refresh token."""


def _wrap_json(
    store: InventoryStore, progress: RunProgress, rows: Iterable[bytes]
) -> Iterator[bytes]:
    """Put the rows into an object with the run: a list alone would seem to be one environment."""
    facts = {
        "run": progress.to_dict(),
        "missing": [attrs.asdict(account) for account in store.missing()],
        "unavailable": [attrs.asdict(environment) for environment in store.unavailable()],
    }
    yield b"{"
    for key, value in facts.items():
        yield f'"{key}": {json.dumps(value, ensure_ascii=False)},\n'.encode()
    yield b'"current": '
    yield from rows
    yield b"}\n"


def _describe_summary(summary: InventorySummary) -> str:
    failed = summary.failed + summary.denied
    return (
        f"{f'{failed:,} failed, ' if failed else ''}{plural(summary.functions, 'function')}, "
        f"{summary.requests / max(summary.seconds, 0.001):,.0f} requests/s"
    )
