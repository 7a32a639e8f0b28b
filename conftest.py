"""Every example in the README and the documentation is a test."""

from __future__ import annotations

from doc_examples import PARSERS, setup, teardown
from sybil import Sybil

pytest_collect_file = Sybil(
    parsers=PARSERS,
    patterns=["README.md", "README.zh-CN.md", "docs/*.md", "docs/*/*.md"],
    setup=setup,
    teardown=teardown,
).pytest()
