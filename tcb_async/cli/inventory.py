"""One inventory at the terminal, from the first account to the last byte.

Rule: what arrived is in the store at once, so that the same command continues where this one ended.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import attrs
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tcb_async.cli.accounts import AccountsFile
from tcb_async.cli.formats import Format, csv_lines, spreadsheet_cell
from tcb_async.cli.output import opened, output_path
from tcb_async.cli.progress import counted
from tcb_async.cli.wording import in_terminal_words
from tcb_async.exceptions import ConfigurationError, DailyQuotaError, TcbError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tcb_async.cli.accounts import Source
    from tcb_async.cli.inventory_files import Export
    from tcb_async.cli.screen import Screen
    from tcb_async.client import TcbClient
    from tcb_async.inventory import Inventory, InventoryRun, InventoryStore, RunProgress

__all__ = ["InventoryJob"]

_NAMED = 20


@attrs.frozen
class InventoryJob:
    """What a user wants to have, and where.

    Attributes:
        store: The store, open.
        run: The run that is begun or continued.
        source: Where the accounts come from.
        export: A file to write from the store at the end, as it was named, and its format.
        summary: A file to write the numbers to, as JSON, as it was named.
    """

    store: InventoryStore
    run: InventoryRun
    source: Source
    export: Export | None = None
    summary: str | None = None

    async def work(self, client: TcbClient, screen: Screen) -> int:
        """List every account that is not complete yet.

        Returns:
            How many accounts are missing.

        Raises:
            TcbError: The platform itself is refused.
            OSError: A file cannot be written.
        """
        unfinished = self.run.unfinished(self.source.accounts(client))
        inventory = client.inventory(unfinished)
        try:
            async with contextlib.aclosing(unfinished), inventory:
                with self._meter(screen, inventory) as moved:
                    async for found in inventory:
                        self.run.save(found)
                        moved()
            self._check_all_visited(inventory)
        except ConfigurationError:  # it says itself what to change first
            raise
        except TcbError as error:
            screen.say(self._how_to_go_on(error))
            raise
        self.run.finish()
        progress = self.store.progress(self.run.run)
        assert progress is not None  # noqa: S101 - the run was begun
        self._write(progress, inventory, screen)
        return self._report(progress, inventory, screen)

    def _check_all_visited(self, inventory: Inventory) -> None:
        """Let no account that a file had when it was checked be taken for one that left."""
        visited = inventory.summary.accounts + self.run.skipped
        if isinstance(self.source, AccountsFile) and visited != self.source.total:
            raise ConfigurationError(
                f"--accounts {self.source.path}: it changed while it was read; run the same "
                "command again"
            )

    def _how_to_go_on(self, error: TcbError) -> str:
        if isinstance(error, DailyQuotaError):
            return f"what has arrived is kept: continue tomorrow, with --run {self.run.run}"
        return "what has arrived is kept: run the same command again to continue"

    def _write(self, progress: RunProgress, inventory: Inventory, screen: Screen) -> None:
        if self.export is not None:
            path, form = self.export
            with opened(output_path(path), screen) as file:
                for part in _document(form, self.store.functions()):
                    file.write(part)
        if self.summary is not None:
            cost = inventory.summary
            facts = {
                **progress.to_dict(),
                "skipped": self.run.skipped,
                "requests": cost.requests,
                "retries": cost.retries,
                "seconds": round(cost.seconds, 3),
            }
            with opened(output_path(self.summary, "--summary"), screen) as file:
                file.write(json.dumps(facts, indent=1).encode() + b"\n")

    def _report(self, progress: RunProgress, inventory: Inventory, screen: Screen) -> int:
        missing = list(self.store.missing())
        for account in missing[:_NAMED]:
            message = in_terminal_words(account.message)
            screen.say(f"{account.appid} is missing ({account.status}): {message}")
        if len(missing) > _NAMED:
            screen.say(f"… and {len(missing) - _NAMED} more in the view missing")
        if progress.left:
            left = counted(progress.left, "account", "accounts")
            screen.say(f"{left} of the last run were not among these, and count as having left")
        if screen.is_watched:
            cost = inventory.summary
            environments = counted(progress.environments, "environment", "environments")
            screen.say(
                f"{progress.complete:,} of {counted(progress.accounts, 'account', 'accounts')}, "
                f"{counted(progress.functions, 'function', 'functions')} in {environments} "
                f"({counted(cost.requests, 'request', 'requests')}, {cost.seconds:.1f} s)"
            )
        return len(missing)

    @contextlib.contextmanager
    def _meter(self, screen: Screen, inventory: Inventory) -> Generator[Moved]:
        meter = Progress(
            TextColumn("accounts"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=screen.err,
            transient=True,
            redirect_stdout=False,
            disable=not screen.is_watched,
            expand=True,
        )
        moved = Moved(self, inventory, meter)
        with meter:
            yield moved


class Moved:
    """Shows how far an inventory is, whenever it is called."""

    def __init__(self, job: InventoryJob, inventory: Inventory, meter: Progress) -> None:
        self._job = job
        self._inventory = inventory
        self._meter = meter
        self._task = meter.add_task("", total=job.source.total, facts="")

    def __call__(self) -> None:
        if self._meter.disable:
            return
        summary = self._inventory.summary
        failed = summary.failed + summary.denied
        facts = [f"{failed:,} failed"] if failed else []
        facts += [
            counted(summary.functions, "function", "functions"),
            f"{summary.requests / max(summary.seconds, 0.001):,.0f} requests/s",
        ]
        self._meter.update(
            self._task,
            completed=summary.accounts + self._job.run.skipped,
            total=self._job.source.total,
            facts=", ".join(facts),
        )


def _document(form: Format, rows: Iterator[dict[str, str | int | None]]) -> Iterator[bytes]:
    """Write the view ``current`` in a format, a row at a time."""
    if form is Format.CSV:
        yield from _csv(rows)
        return
    lines = (json.dumps(row, ensure_ascii=False).encode() for row in rows)
    if form is Format.NDJSON:
        yield from (line + b"\n" for line in lines)
        return
    yield b"["
    for number, line in enumerate(lines):
        yield (b",\n" if number else b"\n") + line
    yield b"\n]\n"


COLUMNS = (
    "appid", "env", "name", "status", "runtime", "add_time", "mod_time", "first_seen_run",
    "last_seen_run", "stale",
)  # fmt: skip


def _csv(rows: Iterator[dict[str, str | int | None]]) -> Iterator[bytes]:
    yield csv_lines([COLUMNS])
    for row in rows:
        values = (row[column] for column in COLUMNS)
        yield csv_lines(
            [[spreadsheet_cell(value) if isinstance(value, str) else value for value in values]]
        )
