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
    TextColumn,
    TimeElapsedColumn,
)

from tcb_async.cli.screen import Screen, plural

if TYPE_CHECKING:
    from tcb_async.client import FunctionPager


def progress_bar(screen: Screen, time: ProgressColumn, *, is_shown: bool) -> Progress:
    """Make a bar with a description, a count, the field ``facts`` of its task, and this column."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}", markup=False),
        time,
        console=screen.err,
        transient=True,
        redirect_stdout=False,  # stdout has the data, byte for byte
        disable=not is_shown,
        expand=True,
    )


@contextlib.contextmanager
def show_walk(
    screen: Screen, env: str, walk: FunctionPager, *, is_shown: bool
) -> Generator[Callable[[int], None]]:
    """Show the count and the retries of a walk; yields a function that sets the count."""
    with progress_bar(screen, TimeElapsedColumn(), is_shown=is_shown) as bar:
        task = bar.add_task(env, total=None, facts="")

        def set_done(done: int) -> None:
            retries = plural(walk.stats.retries, "retry", "retries") if walk.stats.retries else ""
            # The list may grow during the walk.
            bar.update(task, completed=done, total=max(done, walk.total or 0), facts=retries)

        yield set_done
