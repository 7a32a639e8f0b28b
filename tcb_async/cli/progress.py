"""Progress bars on stderr."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn

from tcb_async.cli.screen import Screen


def progress_bar(screen: Screen, time: ProgressColumn) -> Progress:
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
        disable=not screen.is_watched,
        expand=True,
    )
