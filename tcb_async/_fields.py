"""The names of a function's fields, for options that choose among them.

Rule: a literal, because type checkers and command lines read it; a test compares it with the class.
"""

from __future__ import annotations

from typing import Literal

ComparedField = Literal["status", "runtime", "add_time", "mod_time"]
"""A field that can be compared; functions are compared by their names."""

Field = Literal["name", ComparedField]
