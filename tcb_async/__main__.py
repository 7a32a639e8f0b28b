"""``tcb-async`` and ``python -m tcb_async``.

Rule: it needs nothing but the standard library to say what is missing.
"""

from __future__ import annotations

import signal
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; ends by raising `SystemExit` with the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        from tcb_async.cli.app import app  # noqa: PLC0415 - typer and rich are an extra
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing not in {"typer", "rich"}:
            raise
        sys.stderr.write(
            f"tcb-async: the command needs {missing}, which is not installed: "
            "pip install 'tcb-async[cli]'\n"
        )
        sys.exit(3)
    except KeyboardInterrupt:
        sys.exit(130)
    app(prog_name="tcb-async")


def _interrupt(_number: int, _frame: object) -> None:
    """End by SIGTERM as by Ctrl-C, so that what is half done is cleaned up."""
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
