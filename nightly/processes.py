"""A server in a process of its own, so that its cost does not count as the client's.

Rule: it is killed when the block ends, even if it hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing

__all__ = ["in_a_process"]


@contextlib.contextmanager
def in_a_process(serve, *args):
    """Run ``serve(pipe, *args)`` elsewhere; yield this end of the pipe."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(serve, theirs, *args), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        process.kill()
        process.join()


def _run(serve, *args):
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        asyncio.run(serve(*args))
