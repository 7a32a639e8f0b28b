"""How a command ends: one sentence and an exit code, whatever happened.

Rule: no traceback, unless ``--verbose`` asks for one after a bug.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import typer

from tcb_async.cli.screen import Screen
from tcb_async.cli.signals import INTERRUPTED, TERMINATED, Terminated
from tcb_async.cli.wording import in_terminal_words
from tcb_async.exceptions import (
    ApiError,
    ConfigurationError,
    FunctionFailedError,
    SystemBusyError,
    TcbError,
    TokenError,
)

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["EXIT_CODES", "MISSING", "at_terminal", "exit_code", "reporting"]

DONE, BUG, CONFIGURATION, REFUSED, FAILED, MISSING = 0, 1, 3, 4, 5, 6

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
  130  interrupted (Ctrl-C)
  143  terminated (SIGTERM)"""

_log = logging.getLogger("tcb_async")


def exit_code(error: TcbError) -> int:
    """Say whose fault an error is, as an exit code."""
    match error:
        case ConfigurationError() | TokenError():
            return CONFIGURATION
        case SystemBusyError():
            return FAILED
        case ApiError() | FunctionFailedError():
            return REFUSED
        case _:
            return FAILED


@contextlib.contextmanager
def at_terminal(*, verbose: bool, level: int = logging.ERROR) -> Generator[Screen]:
    """Run a command: open the streams, show the log, and end as every command ends.

    Args:
        verbose: Whether to show all that is logged.
        level: The level from which on it is shown otherwise.

    Raises:
        typer.Exit: With the exit code, if the command failed.
    """
    screen = Screen.open()
    with screen.showing_log(logging.DEBUG if verbose else level), reporting(screen):
        yield screen


@contextlib.contextmanager
def reporting(screen: Screen) -> Generator[None]:
    """Turn whatever ends a command into a sentence on stderr and an exit code.

    Raises:
        typer.Exit: With the exit code.
    """
    try:
        yield
    except (typer.Exit, typer.TyperException):
        raise
    except (BrokenPipeError, SystemExit):  # SystemExit is rich's, whose help nobody reads on
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
