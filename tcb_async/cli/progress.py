"""Progress bars on stderr.

Rule: a bar only reads: a walk makes the same requests without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
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

from tcb_async.cli.screen import Screen, plural

if TYPE_CHECKING:
    from tcb_async.client import FunctionPager
    from tcb_async.observer import WalkStats


def progress_bar(screen: Screen, *columns: ProgressColumn, shown: bool) -> Progress:
    """Make a bar with a description, a count of all, and these columns."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        *columns,
        console=screen.err,
        transient=True,
        redirect_stdout=False,  # stdout has the data, byte for byte
        disable=not shown,
        expand=True,
    )


@contextlib.contextmanager
def show_walk(
    screen: Screen, env: str, walk: FunctionPager, *, shown: bool
) -> Generator[Callable[[int], None]]:
    """Show the count, speed and retries of a walk; yields a function that sets the count."""
    columns = (_Rate(), _Retries(), TimeElapsedColumn())
    with progress_bar(screen, *columns, shown=shown) as bar:
        task = bar.add_task(env, total=None, stats=walk.stats)

        def set_done(done: int) -> None:
            # The list may grow during the walk.
            bar.update(task, completed=done, total=max(done, walk.total or 0))

        yield set_done


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s", "progress.data.speed")


class _Retries(ProgressColumn):
    def render(self, task: Task) -> Text:
        stats: WalkStats = task.fields["stats"]
        return Text(plural(stats.retries, "retry", "retries") if stats.retries else "", "yellow")
