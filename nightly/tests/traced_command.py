"""Run a command, and record the repr of every local variable of its frames, at every line.

Usage: ``python traced_command.py FILE WORDS…`` writes the reprs to FILE; the exit code is the
command's.
"""

import sys
from pathlib import Path

import tcb_async.cli
from tcb_async.__main__ import main

OURS = str(Path(tcb_async.cli.__file__).parent)
shown = set()


def at_each_line(frame, _event, _argument):
    for name, value in frame.f_locals.items():
        try:
            text = repr(value)
        except AttributeError:  # of a half-initialised object
            continue
        shown.add(f"{frame.f_code.co_qualname}: {name}={text}")
    return at_each_line


def trace(frame, _event, _argument):
    return at_each_line if frame.f_code.co_filename.startswith(OURS) else None


if __name__ == "__main__":
    place = Path(sys.argv.pop(1))
    sys.settrace(trace)
    try:
        main()
    finally:
        sys.settrace(None)
        place.write_text("\n".join(shown), encoding="utf-8")
