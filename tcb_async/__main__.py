"""``tcb-async`` and ``python -m tcb_async``.

Rule: it needs nothing but the standard library to say what is missing. Until `main` is called,
nothing is imported that Python has not loaded already: from then on, Ctrl-C is one line.
"""

import os
import sys


def main() -> None:
    """Run the command line; ends by raising `SystemExit` with the exit code."""
    try:
        _main()
    except KeyboardInterrupt:  # before there was a handler
        sys.stderr.write("tcb-async: interrupted\n")
        sys.exit(130)


def _main() -> None:
    from tcb_async.cli import signals  # noqa: PLC0415 - `main` catches a signal meanwhile

    with signals.handled(signals.Ending(signals.end_process)) as ending:
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
        except SystemExit as ended:
            if ending.received:  # do not wait for a thread that looks up a name
                os._exit(int(ended.code or 0))
            raise


if __name__ == "__main__":
    main()
