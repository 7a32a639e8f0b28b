"""Where a walk stands, to the item: a value that outlives the process.

Rule: no I/O, no clock, nothing secret in it.
"""
