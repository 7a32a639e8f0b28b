"""Links of the pages have targets; generated parts and pictures are those of the code."""

import html
import re
import sys
from functools import cache
from importlib.metadata import metadata, version
from pathlib import Path
from runpy import run_path
from urllib.parse import unquote, urldefrag

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
]
sys.path.append(str(ROOT / "docs" / "generate"))
GENERATE = run_path(str(ROOT / "docs" / "generate"))
CAPTURE = run_path(str(ROOT / "docs" / "capture.py"))

every_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix()
)


def links_in(page):
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        for part in token.children or ():
            if part.type in {"link_open", "image"}:
                yield part.attrs.get("href") or part.attrs["src"]


@cache
def anchors_of(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_links_have_targets(page):
    broken = []
    for link in links_in(page):
        if re.match(r"[a-z]+:", link):
            continue
        target, anchor = urldefrag(unquote(link))
        linked = page.parent / target if target else page
        if not linked.exists() or (anchor and anchor not in anchors_of(linked)):
            broken.append(link)
    assert broken == []


@every_page
def test_generated_parts_are_up_to_date(page):
    text = page.read_text(encoding="utf-8")

    assert GENERATE["rewritten"](text) == text, "run: python docs/generate"


def test_chinese_drawings_are_up_to_date():
    for path, drawing in GENERATE["drawings"]().items():
        assert path.read_text(encoding="utf-8") == drawing, "run: python docs/generate"


def text_of(picture):
    """The text of a picture, without what differs in each run: its numbers."""
    words = html.unescape("".join(re.findall(r"<text[^>]*>([^<]*)", picture))).split()
    return re.sub(r"\d+", "#", " ".join(words).replace(version("tcb-async"), "#"))


@pytest.mark.slow
@pytest.mark.parametrize("name", CAPTURE["PICTURES"])
def test_terminal_pictures_show_the_output_of_today(name):
    picture = (CAPTURE["STATIC"] / name).read_text(encoding="utf-8")
    drawn = CAPTURE["draw"](*CAPTURE["PICTURES"][name])
    assert text_of(picture) == text_of(drawn), "run: python docs/capture.py"


def test_package_metadata_has_the_readme_without_dead_links():
    shown = metadata("tcb-async").get_payload()

    assert shown.startswith("# tcb-async\n")
    assert [link for link in re.findall(r"\]\(([^)]*)\)", shown) if "://" not in link] == []
