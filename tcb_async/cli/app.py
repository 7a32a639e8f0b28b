"""The command ``tcb-async``: its commands, its help and usage errors, and how a command ends.

Rule: no command is written here, only named. A command is imported when it is run, completed or
asked for its help, and the client only when a request is about to be made. A command ends with one
sentence and an exit code: no traceback, unless ``--verbose`` asks for one after a bug. What the
library says is said in the words of the command line: a user who typed ``--base-url`` reads nothing
of ``base_url=``.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Generator
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from tcb_async import __version__
from tcb_async.cli.screen import Screen, flush
from tcb_async.cli.signals import INTERRUPTED, TERMINATED, Terminated
from tcb_async.exceptions import (
    ApiError,
    ConfigurationError,
    FunctionFailedError,
    SystemBusyError,
    TcbError,
    TokenError,
)

DONE, BUG, CONFIGURATION, REFUSED, FAILED, MISSING, DIFFERENT = 0, 1, 3, 4, 5, 6, 7

EXIT_CODES = """\
[bold]Exit codes[/bold]
    0  done; also if the reader of stdout ended first
    1  a bug in tcb-async
    2  usage: an unknown option, a missing argument
    3  configuration: no token or a refused one, a file
       that cannot be used
    4  the service refused: an unknown environment, no
       permission, over quota
    5  the service or the network failed, after retries
    6  an inventory is finished, but accounts are missing
    7  what was compared differs
  130  interrupted (Ctrl-C)
  143  terminated (SIGTERM)"""

_log = logging.getLogger("tcb_async")


def exit_code(error: TcbError) -> int:
    """Say whose fault an error is, as an exit code."""
    if isinstance(error, ConfigurationError | TokenError):
        return CONFIGURATION
    if isinstance(error, ApiError | FunctionFailedError) and not isinstance(error, SystemBusyError):
        return REFUSED
    return FAILED


@contextlib.contextmanager
def at_terminal(*, verbose: bool, level: int = logging.ERROR) -> Generator[Screen]:
    """Run a command: open the streams, show the log, and end as every command ends."""
    screen = Screen.open()
    with screen.showing_log(logging.DEBUG if verbose else level), reporting(screen):
        yield screen


@contextlib.contextmanager
def reporting(screen: Screen) -> Generator[None]:
    """Turn what ends a command into a sentence on stderr and an exit code."""
    try:
        yield
    except (typer.Exit, typer.TyperException):
        raise
    except (BrokenPipeError, SystemExit):  # rich writes help: SystemExit is its broken pipe
        code = DONE
    except (KeyboardInterrupt, typer.Abort):
        code = _ended(screen, "interrupted", INTERRUPTED)
    except Terminated:
        code = _ended(screen, "terminated", TERMINATED)
    except TcbError as error:
        sentence = "; ".join([str(error), *getattr(error, "__notes__", ())])
        code = _ended(screen, in_terminal_words(sentence), exit_code(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        code = _ended(screen, f"{where}{error.strerror or type(error).__name__}", CONFIGURATION)
    except Exception as error:  # noqa: BLE001 - the edge of the process: no traceback for users
        _log.debug("a bug", exc_info=True)
        bug = f"a bug in tcb-async ({type(error).__name__}): run it with --verbose, and report it"
        code = _ended(screen, bug, BUG)
    else:
        return
    raise typer.Exit(code)


def _ended(screen: Screen, sentence: str, code: int) -> int:
    screen.say(f"tcb-async: {sentence}")
    return code


_OPTIONS = {
    "allow_http=True": "--allow-http",
    "trust_env=True": "--trust-env",
    "base_url=": "--base-url ",
    "base_url": "--base-url",
    "ssl_context": "SSL_CERT_FILE",
    "max_reply_bytes": "the most bytes that are read",
    "env=": "ENV ",
    "name=": "NAME ",
    "timeout=": "--timeout ",
    "interval=": "--interval ",
    "page_size=": "--page-size ",
    "max_items=": "--max-items ",
    "concurrency=": "--concurrency ",
}
_ARGUMENT = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, _OPTIONS))})")


def in_terminal_words(text: str) -> str:
    """Name options where the library names arguments."""
    return _ARGUMENT.sub(lambda found: _OPTIONS[found[0]], text)


_MEANT = {
    "--limit": "pass --max-items N",
    "--count": "pass --max-items N, or use `tcb-async count`",
    "--json": "pass --format json",
    "--ndjson": "pass --format ndjson",
    "--jsonl": "pass --format ndjson",
    "--csv": "pass --format csv",
    "--yaml": "convert --format json",
    "--fields": "pass --columns",
    "--filter": "pass --name, --status or --runtime with a pattern",
    "--offset": "a listing is complete: leave it out",
    "--resume": "an environment is listed again in seconds: run the command again",
    "--file": "pass --output FILE",
    "--env": "ENV is an argument: `tcb-async list ENV`",
    "--proxy": "set HTTPS_PROXY, and pass --trust-env",
    "--token": "others could read it in the list of processes: set TCB_ACCESS_TOKEN",
    "--access-token": "others could read it in the list of processes: set TCB_ACCESS_TOKEN",
    "--secret": "others could read it in the list of processes: set TCB_SECRET",
    "--appsecret": "others could read it in the list of processes: set TCB_SECRET",
}
"""What people type who come from other programs."""


def _without_types(parameters: list[Any]) -> list[Any]:
    """Show no ``<bool>`` after a flag, and no ``<str>`` after an argument."""
    for parameter in parameters:
        if parameter.param_type_name == "argument" or parameter.is_flag:
            parameter.display_type_rich = _no_type
    return parameters


def _no_type(ctx: object) -> None:  # noqa: ARG001 - typer's own method
    return None


class Command(TyperCommand):
    """A command whose help has no types where there is nothing to type."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer's own method
        return _without_types(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - as above
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            # Of an option without its value, the parser does not say of which command it is.
            usage: Any = error
            usage.ctx = getattr(usage, "ctx", None) or ctx
            raise


class CommandGroup(TyperGroup):
    """All commands, each imported when it is run; a usage error is one sentence."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:  # noqa: ANN401 - typer's own method
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load(str(name)), rest

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer's own method
        return _without_types(super().get_params(ctx))

    def main(self, *words: Any, **settings: Any) -> NoReturn:  # noqa: ANN401 - typer's own method
        """Run a command, and end the process with its exit code."""
        screen = Screen.open()  # before help is written: stdout may not know its characters
        try:
            with reporting(screen):
                code = super().main(*words, **settings | {"standalone_mode": False})
        except typer.Exit as ended:
            code = ended.exit_code
        except typer.TyperException as error:
            screen.say(f"tcb-async: {_sentence(error)}")
            code = error.exit_code
        flush()
        sys.exit(code or DONE)


def _sentence(error: Any) -> str:  # noqa: ANN401 - typer does not export its kinds of errors
    context = getattr(error, "ctx", None)
    program = "tcb-async" if context is None else context.command_path
    option, similar = getattr(error, "option_name", None), getattr(error, "possibilities", None)
    is_unknown = hasattr(error, "possibilities")  # and not an option without its value
    if is_unknown and (hint := _MEANT.get(str(option))):
        said = f"there is no option {option}: {hint}"
    elif similar:
        said = f"there is no option {option}: did you mean {' or '.join(sorted(similar))}?"
    elif isinstance(error, typer.BadParameter) and error.message:
        said = f"{_named(error)}: {error.message.removeprefix('Value error, ')}"
    else:
        said = str(error.format_message()).rstrip(".")
        said = said[:1].lower() + said[1:]
    return f"{said} (see `{program} --help`)"


def _named(error: typer.BadParameter) -> str:
    parameter = error.param
    if error.param_hint is not None or parameter is None:
        return str(error.param_hint)
    return parameter.opts[0] if parameter.param_type_name == "option" else str(parameter.metavar)


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
    "environments": ("listing", "List the environments of an account."),
    "merchants": ("listing", "List the merchants of a third-party platform (第三方平台)."),
    "inventory": ("inventory", "List every function of many accounts, into SQLite."),
    "token": (
        "listing",
        "Check the token: whose it is, how long it lives, whether WeChat accepts it.",
    ),
    "emulator": ("emulator", "Serve a WeChat emulator, until Ctrl-C."),
}
"""The module of each command, and its help, which is its docstring there."""


def load(name: str) -> Any:  # noqa: ANN401 - typer does not export its own commands
    module, _ = COMMANDS[name]
    return getattr(import_module(f"tcb_async.cli.{module}"), f"{name}_command")


app = typer.Typer(
    name="tcb-async",
    cls=CommandGroup,
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
