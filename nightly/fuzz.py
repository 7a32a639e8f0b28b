"""Fuzz the readers of foreign bytes: the decoder, and the HTTP side of the emulator.

Rule: only our own errors come out of the one, and they show no secret; only documented errcodes or
HTTP 4xx out of the other, and always something. The same seed makes the same inputs; the exit
status tells whether anything was found.

::

    python nightly/fuzz.py --inputs 1000000 --requests 100000 --seed 7
"""

from __future__ import annotations

import argparse

from fuzz_decoder import fuzz
from fuzz_emulator import besiege


def main():
    """Fuzz both and print the findings."""
    parser = argparse.ArgumentParser(description="Fuzz the decoder and the emulator.")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="for the decoder")
    parser.add_argument("--requests", type=int, default=100_000, help="for the emulator")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    reports = [
        fuzz(arguments.inputs, arguments.seed),
        besiege(arguments.requests, arguments.seed),
    ]
    for report in reports:
        print(report)
    return int(any(report.findings for report in reports))


if __name__ == "__main__":
    raise SystemExit(main())
