"""Progress bars on stderr.

Rule: a bar only reads: a walk makes the same requests without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from tcb_async.cli.screen import Screen, plural

if TYPE_CHECKING:
    from tcb_async.client import TcbClient
    from tcb_async.models import CloudFunction
    from tcb_async.pagination import Pager


def progress_bar(screen: Screen) -> Progress:
    """Make a bar: a description, a count, the ``facts`` of its task, and the remaining time."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}", markup=False),
        TimeRemainingColumn(compact=True),
        console=screen.err,
        transient=True,
        redirect_stdout=False,  # stdout has the data, byte for byte
        disable=not screen.shows_progress,
        expand=True,
    )


async def list_with_bar(
    client: TcbClient,
    env: str,
    screen: Screen,
    *,
    page_size: int | None,
    max_items: int | None = None,
) -> tuple[Pager[CloudFunction], list[CloudFunction]]:
    """List the functions of an environment with a bar; return the walk and its rows."""
    with progress_bar(screen) as bar:
        task = bar.add_task(env, total=None, facts="")

        def show(done: int, total: int) -> None:
            retries = plural(walk.stats.retries, "retry", "retries") if walk.stats.retries else ""
            bar.update(task, completed=done, total=total, facts=retries)

        walk = client.functions(env, page_size=page_size, max_items=max_items, on_progress=show)
        # `collect`, because a page that was yielded may be outdated later.
        return walk, await walk.collect()
