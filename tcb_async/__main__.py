"""``tcb-async`` and ``python -m tcb_async``.

Rule: this module needs only the standard library, so that it can name a missing package. It imports
only modules that Python has loaded already: `main` must catch Ctrl-C from its first line.
"""

import os
import sys


def main() -> None:
    """Run the command line; exits by raising `SystemExit` with the exit code."""
    try:
        _main()
    except KeyboardInterrupt:  # before the handler was installed
        sys.stderr.write("tcb-async: interrupted\n")
        sys.exit(130)


def _main() -> None:
    from tcb_async.cli import signals  # noqa: PLC0415 - `main` catches a signal during this import

    with signals.handle_signals() as handler:
        try:
            from tcb_async.cli.app import run  # noqa: PLC0415 - cyclopts and rich are an extra

            run(sys.argv[1:])
        except ModuleNotFoundError as error:
            missing = str(error.name).partition(".")[0]
            if missing not in {"cyclopts", "rich"}:
                raise
            sys.stderr.write(
                f"tcb-async: the command line needs {missing}, which is not installed: "
                "pip install 'tcb-async[cli]'\n"
            )
            sys.exit(3)
        except SystemExit as exiting:
            if handler.received:  # do not wait for a thread that resolves a host name
                os._exit(int(exiting.code or 0))
            raise


if __name__ == "__main__":
    main()
