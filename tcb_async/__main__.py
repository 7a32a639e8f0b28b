"""``tcb-async`` and ``python -m tcb_async``.

Rule: this module needs only the standard library, so that it can name a missing package.
"""

import os
import sys


def main() -> None:
    """Run the command line, and exit with its exit code."""
    try:
        from tcb_async.cli.app import run  # noqa: PLC0415 - cyclopts and rich are an extra
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing not in {"cyclopts", "rich"}:
            raise
        sys.stderr.write(
            f"tcb-async: the command line needs {missing}, which is not installed: "
            "pip install 'tcb-async[cli]'\n"
        )
        sys.exit(3)
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        run(sys.argv[1:])
    except SystemExit as exiting:
        if exiting.code in {130, 143}:  # do not wait for a thread that resolves a host name
            os._exit(exiting.code)
        raise


if __name__ == "__main__":
    main()
