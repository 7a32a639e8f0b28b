"""Each Chinese page has the same parts as its page in English.

Prose is free. Headings, tables, drawings and blocks are compared, so that a change in one language
fails until it is made in the other one too. Only comments and docstrings of a block are translated:
both languages run the same code and show the same output.
"""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from markdown_it import MarkdownIt

DOCS = Path(__file__).parents[2] / "docs"
INDEX = DOCS / "zh" / "index.md"
"""The index is no translation: it says which pages there are in Chinese."""
TRANSLATED = [path for path in sorted((DOCS / "zh").rglob("*.md")) if path != INDEX]
ONLY_IN_ENGLISH = {"index.md"}
"""Guides without a page of their own: the Chinese index lists the guides too."""
COMMENT = re.compile(r'(^|\s)# (?![\w-]+\.\w+$).*|"""(?!"""$).+"""$', re.MULTILINE)


@pytest.fixture(params=TRANSLATED, ids=lambda path: path.relative_to(DOCS / "zh").as_posix())
def chinese(request):
    return request.param


@cache
def tokens_of(page):
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def links_of(page):
    """The pages that a page links to."""
    links = (it.attrs for token in tokens_of(page) for it in token.children or ())
    for attributes in links:
        target = urldefrag(unquote(str(attributes.get("href", ""))))[0]
        if target.endswith(".md") and ":" not in target:
            yield (page.parent / target).resolve()


def english_of(page):
    link = re.search(r"^\[English\]\((.+)\)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert link, f"{page} has no line [English](…)"
    return (page.parent / link[1]).resolve()


def headings_of(page):
    return [token.tag for token in tokens_of(page) if token.type == "heading_open"]


def tables_of(page):
    """The number of rows and of cells of each table that is written by hand."""
    text = re.sub(
        r"<!-- generated.*?/generated -->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    kinds = [it.type for it in MarkdownIt("commonmark").enable("table").parse(text)]
    tables = " ".join(kinds).split("table_open")[1:]
    return [(table.count("tr_open"), len(re.findall("t[hd]_open", table))) for table in tables]


def drawings_of(page):
    images = (it for token in tokens_of(page) for it in token.children or () if it.type == "image")
    return [Path(str(image.attrs["src"])).name for image in images]


def blocks_of(page):
    """The blocks of a page, without the words that are translated."""
    return [
        (token.info, COMMENT.sub(r"\1#", token.content))
        for token in tokens_of(page)
        if token.type == "fence"
    ]


@pytest.mark.parametrize("parts", [headings_of, tables_of, drawings_of, blocks_of])
def test_both_languages_have_the_same(parts, chinese):
    assert parts(chinese) == parts(english_of(chinese))


def test_english_page_links_to_its_translation(chinese):
    assert chinese in links_of(english_of(chinese))


def test_english_start_page_links_to_the_chinese_index():
    assert INDEX in links_of(english_of(INDEX))


def test_every_guide_has_a_chinese_page():
    guides = {path for path in (DOCS / "how-to").glob("*.md") if path.name not in ONLY_IN_ENGLISH}
    guides |= {DOCS / "tutorial.md", DOCS / "explanation" / "pagination.md"}

    assert guides - {english_of(page) for page in TRANSLATED} == set()


@pytest.mark.parametrize(
    "page", [*TRANSLATED, DOCS.parent / "README.zh-CN.md"], ids=lambda page: page.stem
)
def test_links_lead_to_the_page_in_chinese_if_there_is_one(page):
    in_english = {english_of(each) for each in TRANSLATED}
    own = {english_of(page)} if page in TRANSLATED else set()

    assert in_english.intersection(links_of(page)) - own == set()


@pytest.mark.parametrize("parts", [headings_of, tables_of, drawings_of, blocks_of])
def test_a_missing_part_is_found(parts, tmp_path):
    whole = tmp_path / "whole.md"
    part = "## Part\n\n| a |\n| - |\n| b |\n\n![c](c.svg)\n\n```python\nd = 1\n```\n\n"
    whole.write_text(part * 2, encoding="utf-8")
    shorter = tmp_path / "shorter.md"
    shorter.write_text(part, encoding="utf-8")

    assert len(parts(whole)) == 2
    assert len(parts(shorter)) == 1


def test_only_comments_of_a_block_may_differ(tmp_path):
    def block(text):
        page = tmp_path / f"{len(list(tmp_path.iterdir()))}.md"
        page.write_text(f"```python\n{text}\n```\n", encoding="utf-8")
        return blocks_of(page)

    assert block("a = 1  # one") == block("a = 1  # 一")
    assert block('"""One."""') == block('"""一。"""')
    assert block("a = 1") != block("a = 2")
    assert block("# a.py") != block("# b.py")
    assert block('print("one")') != block('print("一")')
