"""The command ``tcb-async``: its commands, and help that teaches by example.

Rule: no command is written here, only named. A command is imported when it is run, completed or
asked for its help, and the client only when a request is about to be made.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.main import get_command

from tcb_async import __version__
from tcb_async.cli.errors import EXIT_CODES, Command, CommandGroup

_EPILOG = f"""\
[bold]Examples[/bold]
  tcb-async list --demo
  export TCB_APPID=… TCB_SECRET=…  or TCB_ACCESS_TOKEN=…
  tcb-async list test-777bb9
  tcb-async list test-777bb9 -o all.csv
  tcb-async wait test-777bb9 login && echo deployed

{EXIT_CODES}"""

COMMANDS = {
    "list": ("listing", "List the functions of an environment."),
    "count": ("listing", "Count the functions of an environment."),
    "watch": ("watch", "Show what is added, updated and removed, until Ctrl-C."),
    "wait": ("watch", "Wait until functions are Active, as after a deployment."),
    "diff": ("compare", "Compare what should be there with what is."),
    "runtimes": ("compare", "Show which runtimes come to their end."),
    "environments": ("platform", "List the environments of an account."),
    "merchants": ("platform", "List the merchants of a third-party platform (第三方平台)."),
    "inventory": ("inventory", "List every function of many accounts, into SQLite."),
    "token": (
        "platform",
        "Check the token: whose it is, how long it lives, whether WeChat accepts it.",
    ),
    "emulator": ("emulator", "Serve a WeChat emulator, until Ctrl-C."),
}
"""The module of each command, which has it in its own `COMMANDS` with its epilog, and its help."""


class LazyGroup(CommandGroup):
    """Commands that are imported when they are run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:  # noqa: ANN401, D102 - typer's own method
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load(str(name)), rest


def load(name: str) -> Any:  # noqa: ANN401 - typer does not export its own commands
    """Import a command."""
    module, line = COMMANDS[name]
    function, epilog = import_module(f"tcb_async.cli.{module}").COMMANDS[name]
    one = typer.Typer(add_completion=False, rich_markup_mode="rich")
    one.command(name, cls=Command, help=line, epilog=epilog)(function)
    return get_command(one)


app = typer.Typer(
    name="tcb-async",
    cls=LazyGroup,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, (_, _line) in COMMANDS.items():
    app.command(_name, help=_line)(lambda: None)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"tcb-async {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version."),
]


@app.callback(invoke_without_command=True, epilog=_EPILOG)
def tcb_async(context: typer.Context, *, version: Version = False) -> None:  # noqa: ARG001
    """List the cloud functions of WeChat Cloud Base (TCB), completely and fast."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)
        raise typer.Exit(2)
