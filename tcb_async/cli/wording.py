"""What the library says, in the words of the command line.

Rule: whoever typed ``--base-url`` is not told of an argument ``base_url=``.
"""

from __future__ import annotations

import re

__all__ = ["in_terminal_words"]

_OPTIONS = {
    "allow_http=True": "--allow-http",
    "trust_env=True": "--trust-env",
    "base_url=": "--base-url ",
    "base_url": "--base-url",
    "ssl_context": "SSL_CERT_FILE",
    "max_reply_bytes": "the most bytes that are read",
    "env=": "ENV ",
    "name=": "NAME ",
    "timeout=": "--timeout ",
    "interval=": "--interval ",
    "page_size=": "--page-size ",
    "max_items=": "--max-items ",
    "concurrency=": "--concurrency ",
    "resume=": "--resume ",
}
_ARGUMENT = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, _OPTIONS))})")


def in_terminal_words(text: str) -> str:
    """Name options where the library names arguments."""
    return _ARGUMENT.sub(lambda found: _OPTIONS[found[0]], text)
