"""Exit codes, and the last sentence of a command.

Rule: a failed command prints one sentence, after the warnings of the log, and returns an exit
code; ``--verbose`` adds the traceback of a bug. The sentence names options: a user who typed
``--base-url`` does not read ``base_url=``.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import sys
from collections.abc import Generator
from typing import NoReturn

from cyclopts import CycloptsError

from tcb_async.cli.screen import Screen
from tcb_async.cli.signals import Terminated
from tcb_async.exceptions import (
    ApiError,
    ConfigurationError,
    FunctionFailedError,
    SystemBusyError,
    TcbError,
    TokenError,
)


class ExitCode(enum.IntEnum):
    """The exit codes of all commands, which `EXIT_CODES` explains to users."""

    DONE = 0
    BUG = 1
    USAGE = 2
    CONFIGURATION = 3
    REFUSED = 4
    FAILED = 5
    MISSING = 6
    DIFFERENT = 7
    INTERRUPTED = 130
    TERMINATED = 143


EXIT_CODES = """\
[bold]Exit codes[/bold]
    0  done; also if the reader of stdout stopped early
    1  a bug in tcb-async
    2  usage: an unknown option, a missing argument
    3  configuration: no token or a refused token,
       an invalid file
    4  the service refused: an unknown environment, no
       permission, over quota; or a deployment failed
    5  the service or the network failed, after retries,
       or the list changed each time it was read; or
       wait timed out; or no account could be listed
    6  some accounts are missing, or were not compared
    7  the compared sides differ
  130  interrupted (Ctrl-C)
  143  terminated (SIGTERM)"""

_log = logging.getLogger("tcb_async")


def choose_exit_code(error: TcbError) -> ExitCode:
    """Return the exit code for the side that is at fault."""
    if isinstance(error, ConfigurationError | TokenError):
        return ExitCode.CONFIGURATION
    if isinstance(error, ApiError | FunctionFailedError) and not isinstance(error, SystemBusyError):
        return ExitCode.REFUSED
    return ExitCode.FAILED


@contextlib.contextmanager
def run_command(
    *, verbose: bool, quiet: bool = False, level: int = logging.WARNING
) -> Generator[Screen]:
    """Open the streams, show the log, and turn errors into an exit code."""
    screen = Screen.open(is_quiet=quiet)
    with screen.show_log(logging.DEBUG if verbose else level), handle_errors(screen):
        if sys.stdout is None:
            raise ConfigurationError("stdout is closed: leave it open, or redirect it to a file")
        yield screen


@contextlib.contextmanager
def handle_errors(screen: Screen) -> Generator[None]:
    """Turn an error into a sentence on stderr and `SystemExit`; a usage error passes."""
    try:
        yield
    except CycloptsError:
        raise
    except BrokenPipeError:  # the reader, such as `head`, has read enough
        code = ExitCode.DONE
        message = ""
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
        message = "interrupted"
    except Terminated:
        code = ExitCode.TERMINATED
        message = "terminated"
    except TcbError as error:
        code = choose_exit_code(error)
        message = describe_error(error)
    except OSError as error:
        code = ExitCode.CONFIGURATION
        message = _describe_os_error(error)
    except Exception as error:  # noqa: BLE001 - the edge of the process: no traceback for users
        _log.debug("a bug", exc_info=True)
        kind = type(error).__name__
        code = ExitCode.BUG
        message = f"a bug in tcb-async ({kind}): run it with --verbose, and report it"
    else:
        return
    if message:
        screen.say_error(f"tcb-async: {message}")
    sys.exit(code)


def exit_with_result(screen: Screen, code: ExitCode, failure: OSError | None) -> NoReturn:
    """Exit with the code of a comparison. An error of stdout, except a closed pipe, makes 0 a 3."""
    if failure is not None and not isinstance(failure, BrokenPipeError):
        screen.say(f"tcb-async: stdout: {_describe_os_error(failure)}")
        code = code or ExitCode.CONFIGURATION
    sys.exit(code)


def judge_night(complete: int) -> ExitCode:
    """Return the exit code of a night that lacks accounts, from the number that it has."""
    return ExitCode.MISSING if complete else ExitCode.FAILED


def _describe_os_error(error: OSError) -> str:
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"there is no file {error.filename}: check its name, and the folder you are in"
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or type(error).__name__}"


_POSITIONAL_NAMES = {"env": "ENV", "name": "NAME", "path": "PATH", "body": "JSON"}


def describe_error(error: TcbError) -> str:
    """Return the sentence for an error, with the command's name of the library's argument."""
    if not isinstance(error, ConfigurationError) or not error.argument:
        return str(error)
    name = _POSITIONAL_NAMES.get(error.argument) or f"--{error.argument.replace('_', '-')}"
    value = f"{error.value}: " if error.value else ""
    return f"{name} {value}{error.problem}"
