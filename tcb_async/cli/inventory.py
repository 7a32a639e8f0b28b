"""``tcb-async inventory``: every function of many accounts, into SQLite.

Rule: unusable files, and a file that two options name, are refused before any request. The store
has each account as soon as it is complete, so the same command continues where this one ended.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
from cyclopts import App, CycloptsError, Parameter
from rich.progress import Progress, TextColumn, TimeRemainingColumn

from tcb_async.cli import signals
from tcb_async.cli.access import find_accounts
from tcb_async.cli.exits import MISSING, in_terminal_words, run_command
from tcb_async.cli.files import checked_file, open_output, output_path
from tcb_async.cli.formats import FORMATS, TABLE, Format, format_of, known_suffixes
from tcb_async.cli.options import OUTPUT, File, FileOrStream, ManyAccounts, Quiet, Requests
from tcb_async.cli.progress import progress_bar
from tcb_async.cli.screen import Screen, plural
from tcb_async.exceptions import ConfigurationError, DailyQuotaError, TcbError

if TYPE_CHECKING:
    from tcb_async.cli.accounts import Accounts
    from tcb_async.inventory import Inventory, InventoryRun, InventoryStore, RunProgress

_STORES = (".sqlite", ".sqlite3", ".db")
_COLUMNS = (
    "appid", "env", "name", "status", "runtime", "add_time", "mod_time", "first_seen_run",
    "last_seen_run", "stale",
)  # fmt: skip

inventory_command = App(
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
continues where it ended, and tries what failed again.

A line of --accounts is
{"appid": "wx…", "access_token": "…"}, and may have
"envs": ["…"] to list these environments alone.

Exit code 6: finished, but accounts are missing; stderr
names them. The others are in tcb-async --help.""",
)


@inventory_command.default
def list_inventory(
    *,
    output: Annotated[File, Parameter(("--output", "-o"), group=OUTPUT)] = None,
    summary: Annotated[FileOrStream, Parameter(group=OUTPUT)] = None,
    run: Annotated[str | None, Parameter(group=OUTPUT, metavar="DATE")] = None,
    quiet: Quiet = False,
    requests: Requests = Requests(),
    access: ManyAccounts = ManyAccounts(),
) -> None:
    """List every function of many accounts, into SQLite.

    Args:
        output: The SQLite file. Or .csv, .ndjson or .json: an export of the .sqlite file beside it.
        summary: Write the numbers to a file, as JSON, at the end. - is stdout.
        run: The run to continue, such as 2026-01-31. Default: today in China.
    """
    with run_command(verbose=access.verbose) as screen:
        if output is None and not access.demo:
            raise CycloptsError("--output: name a file, such as inventory.sqlite")
        files = Files.choose(output, summary)
        files.check(access)
        # SQLite: help, completion and usage errors do not need it.
        from tcb_async.inventory import InventoryStore  # noqa: PLC0415

        written = _last_written(access.accounts)

        def was_rewritten() -> bool:
            # A renamed file is another file: the old one was read as a whole.
            now = _last_written(access.accounts)
            return now != written and now[:2] == written[:2]

        open_accounts = find_accounts(access)
        missing = 0

        async def work() -> None:
            nonlocal missing
            async with open_accounts(requests.concurrency) as found:
                with (
                    # --demo without --output: the store is deleted with its folder.
                    tempfile.TemporaryDirectory() as folder,
                    InventoryStore(files.path or Path(folder, "inventory.sqlite")) as store,
                ):
                    begun = store.begin(run, source=found.name, appids=found.appids)
                    job = InventoryJob(
                        store, begun, found, files, screen, was_rewritten, is_quiet=quiet
                    )
                    missing = await job.work(requests.page_size)

        signals.run(work)
        if missing:
            sys.exit(MISSING)


def _last_written(path: str | None) -> tuple[int, ...]:
    """Return the identity of a file, its size and its time; nothing for stdin."""
    if path is None or not Path(path).is_file():
        return ()
    state = Path(path).stat()
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


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
        path = None if output is None else Path(output)
        if path is None or path.suffix.lower() in _STORES:
            return cls(path, None, TABLE, summary)
        if (form := format_of(path.suffix)) is None:
            raise CycloptsError(
                f"--output has an unknown suffix {path.suffix!r}: use one of "
                f"{', '.join((*_STORES, *known_suffixes()))}"
            )
        return cls(path.with_suffix(".sqlite"), output, form, summary)

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
                    f"{name}: {file} is given as {other} already: name another file"
                )
        if self.path is not None:
            checked_file("--output", str(self.path))


@attrs.frozen
class InventoryJob:
    """One inventory at the terminal, from the first account to the last byte."""

    store: InventoryStore
    run: InventoryRun
    found: Accounts
    files: Files
    screen: Screen
    was_rewritten: Callable[[], bool]
    is_quiet: bool

    async def work(self, page_size: int | None) -> int:
        from tcb_async.inventory import Inventory  # noqa: PLC0415 - the client

        unfinished = self.run.unfinished(self.found.accounts())
        inventory = Inventory(self.found.client, unfinished, page_size=page_size)
        try:
            async with contextlib.aclosing(unfinished), inventory:
                with self._meter() as bar:
                    task = bar.add_task("accounts", total=None, facts="")
                    async for found in inventory:
                        self.run.save(found)
                        bar.update(task, **self._state(inventory))
        except ConfigurationError:  # its sentence names the change that must come first
            raise
        except TcbError as error:
            how = "run the same command again to continue"
            if isinstance(error, DailyQuotaError):
                how = f"continue tomorrow, with --run {self.run.run}"
            self.screen.say(f"what has arrived is kept: {how}")
            raise
        if self.was_rewritten():  # the run stays unfinished, so no comparison trusts it
            self.screen.say(
                "the accounts file was written meanwhile, so accounts may be missing: run the "
                "command again; to change the file, write another one and rename it"
            )
            return 1
        self.run.finish()
        progress = self.store.progress(self.run.run)
        assert progress is not None  # noqa: S101 - the run was begun
        self._write(progress, inventory)
        return self._report(progress, inventory)

    def _write(self, progress: RunProgress, inventory: Inventory) -> None:
        if self.files.export is not None:
            document = FORMATS[self.files.format](_COLUMNS)
            with open_output(output_path(self.files.export), self.screen) as file:
                file.write(document.head)
                for number, row in enumerate(self.store.functions()):
                    file.write(document.rows([row], number))
                file.write(document.tail)
        if self.files.summary is not None:
            cost = inventory.summary
            facts = {
                **progress.to_dict(),
                "skipped": self.run.skipped,
                "requests": cost.requests,
                "retries": cost.retries,
                "seconds": round(cost.seconds, 3),
            }
            with open_output(output_path(self.files.summary, "--summary"), self.screen) as file:
                file.write(json.dumps(facts, indent=1).encode() + b"\n")

    def _report(self, progress: RunProgress, inventory: Inventory) -> int:
        missing = self.screen.say_each(
            (
                f"{account.appid} is missing ({account.status}): "
                f"{in_terminal_words(account.message)}"
                for account in self.store.missing()
            ),
            "… and {} more in the view missing",
        )
        if progress.left:
            left = plural(progress.left, "account")
            self.screen.say(
                f"{left} of the last run were not among these, and count as having left"
            )
        if not self.is_quiet:
            cost = inventory.summary
            environments = plural(progress.environments, "environment")
            self.screen.say(
                f"{progress.complete:,} of {plural(progress.accounts, 'account')}, "
                f"{plural(progress.functions, 'function')} in {environments} "
                f"({plural(cost.requests, 'request')}, {cost.seconds:.1f} s)"
            )
        return missing

    def _meter(self) -> Progress:
        columns = (
            TextColumn("{task.fields[facts]}", markup=False),
            TimeRemainingColumn(compact=True),
        )
        return progress_bar(self.screen, *columns, shown=self.screen.is_watched)

    def _state(self, inventory: Inventory) -> dict[str, Any]:
        summary = inventory.summary
        failed = summary.failed + summary.denied
        facts = [f"{failed:,} failed"] if failed else []
        facts += [
            plural(summary.functions, "function"),
            f"{summary.requests / max(summary.seconds, 0.001):,.0f} requests/s",
        ]
        return {
            "completed": summary.accounts + self.run.skipped,
            "total": self.run.planned,
            "facts": ", ".join(facts),
        }
