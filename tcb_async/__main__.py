"""``tcb-async`` and ``python -m tcb_async``.

Rule: it needs nothing but the standard library to say what is missing.
"""

from __future__ import annotations

import sys

from tcb_async.cli import signals

__all__ = ["main"]


def main() -> None:
    """Run the command line; ends by raising `SystemExit` with the exit code."""
    with signals.handled(signals.Ending(signals.end_process)):
        try:
            from tcb_async.cli.app import app  # noqa: PLC0415 - typer and rich are an extra

            app(prog_name="tcb-async")
        except ModuleNotFoundError as error:
            missing = str(error.name).partition(".")[0]
            if missing not in {"typer", "rich"}:
                raise
            sys.stderr.write(
                f"tcb-async: the command line needs {missing}, which is not installed: "
                "pip install 'tcb-async[cli]'\n"
            )
            sys.exit(3)
        except KeyboardInterrupt:
            sys.exit(signals.INTERRUPTED)
        except signals.Terminated:
            sys.exit(signals.TERMINATED)


if __name__ == "__main__":
    main()
