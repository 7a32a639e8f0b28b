"""``tcb-async environments``."""

# No `from __future__ import annotations`: typer reads what stands here when the program runs.

from tcb_async.cli import signals
from tcb_async.cli.errors import at_terminal
from tcb_async.cli.options import Access, Demo, Verbose, with_access
from tcb_async.cli.rows import RowFormat, write_rows
from tcb_async.cli.service import Demonstration

__all__ = ["EPILOG", "environments"]

EPILOG = """\
[bold]Examples[/bold]
  tcb-async environments
  tcb-async environments -f json | jq -r '.\\[].env'

The exit codes are in tcb-async --help."""

_COLUMNS = ("env", "alias", "status", "package_name", "create_time", "update_time")


@with_access
def environments(
    *, form: RowFormat = "table", demo: Demo = False, access: Access, verbose: Verbose = False
) -> None:
    """List the environments of an account."""
    with at_terminal(verbose=verbose) as screen:
        service = Demonstration() if demo else access.service()

        async def work() -> None:
            async with service.open() as client:
                write_rows(screen, await client.list_environments(), _COLUMNS, form)

        signals.run(work)
