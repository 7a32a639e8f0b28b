"""A progress bar on stderr, if that is a terminal.

Rule: it only reads; a walk goes the same way without it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Generator

    from tcb_async.cli.screen import Screen
    from tcb_async.pagination.page import WalkStats

__all__ = ["Meter", "counted"]


class Meter:
    """A bar that fills as functions arrive: how many of how many, how fast, how many retries.

    Args:
        screen: Where to show it.
        env: What is listed.
        seen: How many functions earlier runs have fetched.
        shown: Whether to show it at all.
    """

    def __init__(self, screen: Screen, env: str, seen: int, *, shown: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            _Rate(),
            _Retries(),
            TimeElapsedColumn(),
            console=screen.err,
            transient=True,
            redirect_stdout=False,
            disable=not shown,
            expand=True,
        )
        self._seen = seen
        self._task = self._progress.add_task(env, total=None, completed=seen)

    def moved(self, done: int, total: int) -> None:
        """Show how many functions of how many have arrived in this run."""
        done += self._seen
        self._progress.update(self._task, completed=done, total=max(done, total))

    @contextmanager
    def showing(self, stats: WalkStats) -> Generator[None]:
        """Show the bar meanwhile.

        Args:
            stats: Of the walk, for its retries.
        """
        self._progress.update(self._task, stats=stats)
        with self._progress:
            yield


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s", "progress.data.speed")


class _Retries(ProgressColumn):
    def render(self, task: Task) -> Text:
        stats: WalkStats = task.fields["stats"]
        return Text(counted(stats.retries, "retry", "retries") if stats.retries else "", "yellow")


def counted(number: int, one: str, many: str) -> str:
    """Say how many there are, in the singular or the plural."""
    return f"{number:,} {one if number == 1 else many}"
