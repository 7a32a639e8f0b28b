"""Work that is counted, so that a busy or slow machine changes no test.

Rule: Python's instructions are counted exactly, without those of a garbage collection, which may
finish the objects of other tests at any time. `re` counts no steps, so the work of a regular
expression is a ratio of two times of the same thread, taken one after the other.
"""

import contextlib
import gc
import sys
import time


def count_steps(function, *arguments):
    """Count the instructions of Python that a call executes, also if it raises an exception."""
    steps = 0

    def trace(frame, event, _argument):
        nonlocal steps
        frame.f_trace_opcodes = True
        steps += event == "opcode"
        return trace

    tracing = sys.gettrace()
    collecting = gc.isenabled()
    gc.disable()
    sys.settrace(trace)
    try:
        with contextlib.suppress(Exception):
            function(*arguments)
    finally:
        sys.settrace(tracing)
        if collecting:
            gc.enable()
    return steps


def seconds(function, *arguments):
    """The CPU time of this thread that a call takes."""
    started = time.thread_time()
    function(*arguments)
    return time.thread_time() - started


def is_quadratic(function, text_of, length):
    """Whether a text that is four times as long takes much more than four times as long.

    It takes 4 times as long in linear time, and 16 times in quadratic time, whatever the speed of
    the machine. A measurement may be disturbed, which makes it longer; so the shortest of five
    counts.
    """
    pairs = [
        (seconds(function, text_of(length)), seconds(function, text_of(4 * length)))
        for _ in range(5)
    ]
    shortest, shortest_of_long = map(min, zip(*pairs, strict=True))
    return shortest_of_long > 8 * shortest
