"""What a reader of the site is promised: it is built, and read in a browser.

Rule: nothing outside this machine is asked for.
"""

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest
from programs import needs, needs_package

import tcb_async
import tcb_async.emulator
import tcb_async.fastapi
import tcb_async.otel
import tcb_async.tokens
from tcb_async.errcodes import ERRCODES

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"
WIDTHS = {"desktop": 1280, "phone": 390}
SITE = "http://site.invalid/"


class Html(HTMLParser):
    """What a page links to, loads, and can be linked at."""

    def __init__(self, path):
        super().__init__()
        self.links = []
        self.loaded = []
        self.anchors = {"", "top"}
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
            target, anchor = urldefrag(urljoin(SITE + name, link))
            if not target.startswith(SITE):
                continue
            there = unquote(target.removeprefix(SITE).partition("?")[0])
            found = (root / there).is_file()
            if not found or (there in pages and unquote(anchor) not in pages[there].anchors):
                broken.append(f"{name} -> {link}")
    return broken


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The built site; a warning is an error."""
    needs_package("sphinx")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(  # noqa: S603 - our own documentation
        [*command, "-d", str(folder / "trees"), str(DOCS), str(folder / "html")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "TCB_DOCS_INTERSPHINX"},
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")  # while it lives, its event loop runs in this thread
def browser():
    chromium = needs("chromium")
    sync_api = needs_package("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="session")
def address(site):
    """Where the site is served on loopback."""
    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="site")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def pages_of(site):
    return sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))


def test_every_link_and_anchor_of_the_site_leads_somewhere(site):
    assert broken_links(site) == []


def test_a_link_that_leads_nowhere_would_be_found(tmp_path):
    links = ("b.html", "b.html#there", "https://example.com/", "c.html", "b.html#gone", "#gone")
    page = "".join(f'<a href="{link}">' for link in links) + '<img src="gone.svg">'
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    (tmp_path / "b.html").write_text('<p id="there">', encoding="utf-8")
    found = [link.removeprefix("a.html -> ") for link in broken_links(tmp_path)]
    assert found == ["c.html", "b.html#gone", "#gone", "gone.svg"]


def test_the_site_loads_nothing_from_elsewhere(site):
    loaded = {url for page in pages_of(site) for url in Html(site / page).loaded}
    assert [url for url in loaded if re.match(r"(https?:)?//", url)] == []


def test_each_page_in_chinese_and_its_page_in_english_link_to_each_other(site):
    pages = sorted((site / "zh").rglob("*.html"))
    assert pages
    for page in pages:
        (english,) = translations_of(page)
        assert translations_of(english) == [page]


def translations_of(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r'class="translation headerlink"><a href="([^"]+)"', text)
    return [(page.parent / link).resolve() for link in links]


@pytest.mark.parametrize(
    "module",
    [tcb_async, tcb_async.emulator, tcb_async.fastapi, tcb_async.otel, tcb_async.tokens],
    ids=lambda module: module.__name__,
)
def test_every_public_name_is_in_the_reference(site, module):
    inventory = needs_package("sphinx.util.inventory").InventoryFile.loads(
        (site / "objects.inv").read_bytes(), uri=""
    )
    documented = {name for kind in inventory.data.values() for name in kind}
    wanted = {f"{module.__name__}.{name}" for name in module.__all__ if not name.startswith("__")}
    assert wanted - documented == set()


def test_each_page_is_there_as_markdown_and_llms_txt_lists_it(site):
    listed = re.findall(r"\]\(([^)]*)\)", (site / "llms.txt").read_text(encoding="utf-8"))
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.md")}
    assert set(listed) == pages - {"index.md"}
    text = (site / "how-to" / "inventory-tools.md").read_text(encoding="utf-8")
    assert "list_account(client, " in text  # of the program that the page includes
    assert "<!--" not in text


@pytest.mark.parametrize("device", WIDTHS)
def test_every_page_loads_without_complaint_and_fits(site, address, browser, device):
    complaints = []
    page = browser.new_page(viewport={"width": WIDTHS[device], "height": 900})
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
    page.on("console", lambda line: complaints.append(f"{page.url}: {line.type} {line.text}"))
    page.on("request", lambda request: note_stranger(request.url, address, complaints))
    for name in pages_of(site):
        answer = page.goto(f"{address}/{name}")
        assert answer.ok, name
        if is_too_wide(page):
            complaints.append(f"{name} is wider than the screen")
        complaints += [f"{name}: the drawing cuts off {text!r}" for text in cut_off(page)]
    page.close()
    assert complaints == []


def test_no_column_of_a_table_in_chinese_is_one_character_wide(site, address, browser):
    page = browser.new_page(viewport={"width": WIDTHS["desktop"], "height": 900})
    broken = []
    for name in pages_of(site):
        if name.startswith("zh/"):
            page.goto(f"{address}/{name}")
            broken += page.evaluate(
                """() => [...document.querySelectorAll("th p")].filter((head) =>
                    head.offsetHeight > 1.5 * parseFloat(getComputedStyle(head).lineHeight)
                ).map((head) => `${location.pathname}: ${head.textContent}`)"""
            )
    page.close()
    assert broken == []


def note_stranger(url, address, complaints):
    if not url.startswith((address, "data:", "blob:")):
        complaints.append(f"{url} is asked for")


def is_too_wide(page):
    """Whether the page scrolls sideways, or some of it is cut off and cannot be scrolled to."""
    return bool(
        page.evaluate(
            """() => document.documentElement.scrollWidth > window.innerWidth
            || [...document.querySelectorAll("article *")].some((element) =>
                element.getBoundingClientRect().right > window.innerWidth + 1
                && !element.closest("pre, .table-wrapper, svg"))"""
        )
    )


def cut_off(page):
    """Words of a drawing that do not fit into it."""
    return page.evaluate(
        """() => [...document.querySelectorAll("svg.drawing text")].filter((text) => {
            const [inner, outer] = [text, text.closest("svg")].map(
                (element) => element.getBoundingClientRect());
            return inner.left < outer.left || inner.right > outer.right;
        }).map((text) => text.textContent)"""
    )


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("iter_functions", "reference/client.html"),
        ("40001", "reference/errcodes.html#errcode-40001"),
        ("40001", "how-to/troubleshooting.html"),
        ("45009", "reference/errcodes.html#errcode-45009"),
        ("-501007", "reference/errcodes.html#errcode--501007"),
        ("40164", "how-to/troubleshooting.html"),
        ("unclosed TcbClient", "how-to/troubleshooting.html"),
        ("第三方平台", "zh/service-provider.html"),
        ("IP白名单", "zh/tokens.html"),
        ("盘点", "zh/inventory.html"),
    ],
)
def test_the_search_finds(address, browser, words, place):
    page = browser.new_page()
    page.goto(f"{address}/search.html?q={words}")
    found = page.locator("#search-results li a")
    found.first.wait_for(timeout=10_000)
    targets = [link.get_attribute("href") or "" for link in found.all()]
    page.close()
    assert any(target.startswith(place) for target in targets), targets


def test_each_errcode_has_a_place_of_its_own(site):
    page = Html(site / "reference" / "errcodes.html")
    wanted = {f"errcode-{code}" for code in ERRCODES}
    assert wanted <= page.anchors
    assert "token-errcode-40001" in page.anchors
