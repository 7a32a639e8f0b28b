"""The documentation as a browser meets it.

Rule: nothing outside this machine is asked for.
"""

from __future__ import annotations

import functools
import http.server
import threading
from contextlib import contextmanager
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag, urljoin

__all__ = ["Html", "broken_links", "served"]

_SITE = "http://site.invalid/"


class Html(HTMLParser):
    """What a page links to, loads, and can be linked at."""

    def __init__(self, path):
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = {"", "top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors.update(filter(None, (given.get("id"), given.get("name"))))
        if tag == "a":
            self.links.extend(filter(None, [given.get("href")]))
        elif tag in {"img", "script", "source", "iframe"}:
            self.loaded.extend(filter(None, [given.get("src")]))
        elif tag == "link" and given.get("rel") != "canonical":
            self.loaded.extend(filter(None, [given.get("href")]))


def broken_links(root):
    """Links of a built site that lead to no page, or to no place on it."""
    pages = {path.relative_to(root).as_posix(): Html(path) for path in root.rglob("*.html")}
    broken = []
    for name, page in pages.items():
        for link in page.links + page.loaded:
            target, anchor = urldefrag(urljoin(_SITE + name, link))
            if not target.startswith(_SITE):
                continue
            there = unquote(target.removeprefix(_SITE).partition("?")[0])
            found = (root / there).is_file()
            if not found or (there in pages and unquote(anchor) not in pages[there].anchors):
                broken.append(f"{name} -> {link}")
    return broken


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def served(root):
    """Serve a folder on loopback; yields where."""
    handler = functools.partial(_Quiet, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="site")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
