"""The search of the site: it finds errcodes and Chinese words, too.

Rule: Python, which writes the index, and JavaScript, which splits a query, split in the same way.

Chinese has no spaces between words, so Sphinx takes a whole clause for one word, and a query of two
characters finds only clauses of these two. Here a run of Chinese characters is split into all its
pairs of neighbours, and a query finds the pages that hold each of its pairs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.addnodes import index
from sphinx.search.en import SearchEnglish
from sphinx.transforms import SphinxTransform

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_RUN = re.compile(r"[\u4e00-\u9fff]+|[^\W\u4e00-\u9fff]+")


class EnglishAndChinese(SearchEnglish):
    """English by its words, Chinese by pairs of characters."""

    lang = "en-zh"
    js_splitter_code = r"""
var splitQuery = (query) =>
  (query.match(/[\u4e00-\u9fff]+|(?:(?![\u4e00-\u9fff])[\p{Letter}\p{Number}_])+/gu) ?? [])
    .flatMap((run) =>
      /^[\u4e00-\u9fff]{3}/.test(run)
        ? Array.from({length: run.length - 1}, (_, at) => run.slice(at, at + 2))
        : [run]);
"""

    def split(self, input: str) -> list[str]:  # noqa: A002 - Sphinx's name for it
        """Split a text into what can be found."""
        return [word for run in _RUN.findall(input) for word in _pairs(run)]


def _pairs(run: str) -> list[str]:
    if "\u4e00" <= run[0] <= "\u9fff" and len(run) > 2:  # noqa: PLR2004 - a pair
        return [run[at : at + 2] for at in range(len(run) - 1)]
    return [run]


class ErrcodeAnchors(SphinxTransform):
    """An anchor and an entry in the index for each row of the tables of errcodes.

    The search does not index numbers, but it does look into the index.
    """

    default_priority = 400  # before the index is read

    def apply(self, **_: object) -> None:
        """Find the rows by their first cell, which holds the errcode."""
        if not self.env.current_document.docname.endswith("/errcodes"):
            return
        seen: set[str] = set()
        for row in self.document.findall(nodes.row):
            code = next(iter(row.findall(nodes.literal)), None)
            if code is None or not re.fullmatch(r"-?\d+", number := code.astext()):
                continue
            anchor = f"token-errcode-{number}" if number in seen else f"errcode-{number}"
            seen.add(number)
            entry = index(entries=[("single", number, anchor, "", None)])
            code.parent[:0] = [entry, nodes.target(ids=[anchor])]


def setup(app: Sphinx) -> dict[str, object]:
    """Take part in the search."""
    app.add_search_language(EnglishAndChinese)
    app.add_transform(ErrcodeAnchors)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
