"""``tcb-async inventory``: every function of many accounts, into SQLite.

Rule: what cannot work is refused before anything is asked, and so is a file that two options name.
What arrived is in the store at once, so that the same command continues where this one ended.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import typer
from rich.progress import Progress, TextColumn, TimeRemainingColumn

from tcb_async.cli import signals
from tcb_async.cli.app import MISSING, in_terminal_words
from tcb_async.cli.formats import FORMATS, format_of, known_suffixes
from tcb_async.cli.options import Access, command, in_panel, option
from tcb_async.cli.screen import Screen, checked_file, counted, opened, output_path, progress_bar
from tcb_async.exceptions import ConfigurationError, DailyQuotaError, TcbError
from tcb_async.inventory.inventory import Inventory

if TYPE_CHECKING:
    from tcb_async.cli.access import Accounts
    from tcb_async.inventory import InventoryRun, InventoryStore, RunProgress

_STORES = (".sqlite", ".sqlite3", ".db")
_COLUMNS = (
    "appid", "env", "name", "status", "runtime", "add_time", "mod_time", "first_seen_run",
    "last_seen_run", "stale",
)  # fmt: skip

_OPTIONS = in_panel(
    "Output",
    output=option(
        "--output -o FILE",
        "The SQLite file that keeps all runs. Or a .csv, .ndjson or .json file, which is written "
        "at the end from the SQLite file of the same name beside it.",
    ),
    summary=option(
        "--summary FILE", "Write the numbers to a file, as JSON, at the end. - is stdout."
    ),
    run=option("--run DATE", "The run to continue, such as 2026-01-31. Default: today in China."),
)


@command(lacks=("env", "token_file"), **_OPTIONS)
def inventory_command(  # noqa: PLR0913 - each is an option
    screen: Screen,
    access: Access,
    *,
    output: str | None = None,
    summary: str | None = None,
    run: str | None = None,
    page_size: int | None = None,
    concurrency: int | None = None,
    quiet: bool = False,
) -> None:
    r"""List every function of many accounts, into SQLite.

    [bold]Examples[/bold]
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
    names them. The others are in tcb-async --help.
    """
    if output is None and not access.demo:
        raise typer.BadParameter("name a file, such as inventory.sqlite", param_hint="--output")
    files = Files.named(output, summary)
    files.check(access)
    # SQLite: help, completion and usage errors do not wait for it.
    from tcb_async.inventory import InventoryStore  # noqa: PLC0415

    written = _last_written(access.accounts)
    opened_accounts = access.many()
    missing = 0

    async def work() -> None:
        nonlocal missing
        async with opened_accounts(concurrency) as found:
            with (
                tempfile.TemporaryDirectory() as folder,
                InventoryStore(files.path or Path(folder, "inventory.sqlite")) as store,
            ):
                begun = store.begin(run, source=found.name, appids=found.appids)
                job = InventoryJob(store, begun, found, files, screen, is_quiet=quiet)
                missing = await job.work(page_size)

    signals.run(work)
    if (now := _last_written(access.accounts)) != written and now[:2] == written[:2]:
        screen.say(
            f"{access.accounts} was written meanwhile, so accounts may be missing: run the command "
            "again; to change the file, write another one and rename it"
        )
        missing += 1
    if missing:
        raise typer.Exit(MISSING)


def _last_written(path: str | None) -> tuple[int, ...]:
    """Say which file it is, and what changes when it is written in place; nothing of stdin."""
    if path is None or not Path(path).is_file():
        return ()
    state = Path(path).stat()
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


@attrs.frozen
class Files:
    """What is written: a store, a temporary one if it has no path; an export and its format."""

    path: Path | None
    export: str | None
    format: str
    summary: str | None

    @classmethod
    def named(cls, output: str | None, summary: str | None) -> Files:
        """Say which SQLite file ``--output`` means, and what else is to be written."""
        path = None if output is None else Path(output)
        if path is None or path.suffix.lower() in _STORES:
            return cls(path, None, "", summary)
        if (form := format_of(path.suffix)) is None:
            raise typer.BadParameter(
                f"the suffix {path.suffix!r} is none of {', '.join((*_STORES, *known_suffixes()))}",
                param_hint="--output",
            )
        return cls(path.with_suffix(".sqlite"), output, form, summary)

    def check(self, access: Access) -> None:
        """Refuse what cannot be written, and a file that two options name."""
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
                raise typer.BadParameter(
                    f"{file} is given as {other} already: name another file", param_hint=name
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
    is_quiet: bool

    async def work(self, page_size: int | None) -> int:
        unfinished = self.run.unfinished(self.found.listed())
        inventory = Inventory(self.found.client, unfinished, page_size=page_size)
        try:
            async with contextlib.aclosing(unfinished), inventory:
                with self._meter() as bar:
                    task = bar.add_task("accounts", total=self.found.total, facts="")
                    async for found in inventory:
                        self.run.save(found)
                        bar.update(task, **self._state(inventory))
        except ConfigurationError:  # it says itself what to change first
            raise
        except TcbError as error:
            how = "run the same command again to continue"
            if isinstance(error, DailyQuotaError):
                how = f"continue tomorrow, with --run {self.run.run}"
            self.screen.say(f"what has arrived is kept: {how}")
            raise
        self.run.finish()
        progress = self.store.progress(self.run.run)
        assert progress is not None  # noqa: S101 - the run was begun
        self._write(progress, inventory)
        return self._report(progress, inventory)

    def _write(self, progress: RunProgress, inventory: Inventory) -> None:
        if self.files.export is not None:
            document = FORMATS[self.files.format](_COLUMNS)
            with opened(output_path(self.files.export), self.screen) as file:
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
            with opened(output_path(self.files.summary, "--summary"), self.screen) as file:
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
            left = counted(progress.left, "account")
            self.screen.say(
                f"{left} of the last run were not among these, and count as having left"
            )
        if not self.is_quiet:
            cost = inventory.summary
            environments = counted(progress.environments, "environment")
            self.screen.say(
                f"{progress.complete:,} of {counted(progress.accounts, 'account')}, "
                f"{counted(progress.functions, 'function')} in {environments} "
                f"({counted(cost.requests, 'request')}, {cost.seconds:.1f} s)"
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
            counted(summary.functions, "function"),
            f"{summary.requests / max(summary.seconds, 0.001):,.0f} requests/s",
        ]
        return {
            "completed": summary.accounts + self.run.skipped,
            "total": self.found.total,
            "facts": ", ".join(facts),
        }
