"""The decoder under coverage-guided fuzzing: ``fuzz_atheris.py -runs=1000000``.

Every argument is libFuzzer's. A page or an error of ours are the only results.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tcb_async"]):
    from tcb_async._codec import decode_reply
    from tcb_async._listings import FUNCTIONS
    from tcb_async.exceptions import ApiError, ResponseError

SAMPLES = Path(__file__).parents[1] / "tests" / "samples"


def decode(body):
    """Feed both decoders; any other exception ends the run with a report."""
    try:
        page = FUNCTIONS.decode(body, offset=0, limit=20)
    except (ApiError, ResponseError):
        pass
    else:
        for function in page.functions:
            assert function.add_time is None or function.add_time.tzinfo is not None
    with contextlib.suppress(ApiError, ResponseError):
        decode_reply(body, "/cgi-bin/stable_token")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as found:  # libFuzzer keeps inputs in the first folder
        atheris.Setup([*sys.argv, found, str(SAMPLES)], decode)
        atheris.Fuzz()
