"""``tcb-async count``: one small request."""

# No `from __future__ import annotations`: typer reads what stands here when the program runs.

from tcb_async.cli import signals
from tcb_async.cli.errors import at_terminal
from tcb_async.cli.options import Access, Demo, OptionalEnv, Verbose, checked_env, with_access
from tcb_async.cli.service import Demonstration

__all__ = ["EPILOG", "count"]

EPILOG = """\
[bold]Example[/bold]
  tcb-async count test-777bb9

The exit codes are in tcb-async --help."""


@with_access
def count(
    env: OptionalEnv = None, *, demo: Demo = False, access: Access, verbose: Verbose = False
) -> None:
    """Count the functions of an environment."""
    with at_terminal(verbose=verbose) as screen:
        asked = checked_env(env, demo=demo)
        service = Demonstration(asked) if demo else access.service()

        async def work() -> None:
            async with service.open() as client:
                screen.write(b"%d\n" % await client.count_functions(asked))

        signals.run(work)
