"""The site as a reader sees it: it is built, and read in a browser.

Rule: nothing is requested from other machines.
"""

import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest
from doc_examples import commands_in
from programs import needs, needs_package

ROOT = Path(__file__).parents[2]
WIDTHS = {"desktop": 1280, "phone": 390}
SITE = "http://site.invalid/"


class Html(HTMLParser):
    """The links, loaded files and anchors of a page."""

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
            there = unquote(target.removeprefix(SITE).partition("?")[0]) or "index.html"
            found = (root / there).is_file()
            if not found or (there in pages and unquote(anchor) not in pages[there].anchors):
                broken.append(f"{name} -> {link}")
    return broken


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The built site; a dead link or anchor is an error."""
    needs_package("zensical")
    folder = tmp_path_factory.mktemp("site")
    for name in "zensical.toml", "CHANGELOG.md":
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("_build"))
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "docs" / "_build"


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


def test_links_and_anchors_have_targets(site):
    assert broken_links(site) == []


def test_dead_links_are_found(tmp_path):
    links = ("b.html", "b.html#there", "https://example.com/", "c.html", "b.html#gone", "#gone")
    page = "".join(f'<a href="{link}">' for link in links) + '<img src="gone.svg">'
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    (tmp_path / "b.html").write_text('<p id="there">', encoding="utf-8")
    found = [link.removeprefix("a.html -> ") for link in broken_links(tmp_path)]
    assert found == ["c.html", "b.html#gone", "#gone", "gone.svg"]


def test_the_site_loads_nothing_from_elsewhere(site):
    loaded = {url for page in pages_of(site) for url in Html(site / page).loaded}
    assert [url for url in loaded if re.match(r"(https?:)?//", url)] == []


def test_a_page_is_in_the_language_of_its_folder(site):
    languages = {
        name: re.search(r'<html lang="(.+?)"', (site / name).read_text(encoding="utf-8"))[1]
        for name in pages_of(site)
    }
    expected = {name: "zh" if name.startswith("zh/") else "en" for name in languages}
    assert languages == expected


@pytest.mark.parametrize("device", WIDTHS)
def test_pages_load_without_errors_and_fit(site, address, browser, device):
    complaints = []
    page = browser.new_page(viewport={"width": WIDTHS[device], "height": 900})
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
    page.on("console", lambda line: complaints.append(f"{page.url}: {line.type} {line.text}"))
    page.on("request", lambda request: record_external_request(request.url, address, complaints))
    for name in pages_of(site):
        answer = page.goto(f"{address}/{name}")
        assert answer.ok, name
        if is_too_wide(page):
            complaints.append(f"{name} is wider than the screen")
    page.close()
    assert complaints == []


def test_chinese_columns_are_wider_than_one_character(site, address, browser):
    page = browser.new_page(viewport={"width": WIDTHS["desktop"], "height": 900})
    broken = []
    for name in pages_of(site):
        if name.startswith("zh/"):
            page.goto(f"{address}/{name}")
            broken += page.evaluate(
                """() => [...document.querySelectorAll("th")].filter((head) =>
                    head.clientHeight > 3 * parseFloat(getComputedStyle(head).lineHeight)
                ).map((head) => `${location.pathname}: ${head.textContent}`)"""
            )
    page.close()
    assert broken == []


@pytest.mark.parametrize("name", ["tutorial", "how-to/call", "how-to/terminal", "zh/compare"])
def test_copy_buttons_copy_what_is_typed(site, address, browser, name):
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(f"{address}/{name}.html", wait_until="networkidle")
    copied = []
    for button in page.locator(".highlight:visible .md-code__button:visible").all():
        button.click()
        copied.append(page.evaluate("navigator.clipboard.readText()"))
    context.close()
    blocks = blocks_in(ROOT / "docs" / f"{name}.md")
    assert [lines_of(text) for text in copied] == [lines_of(text) for text in blocks]


def blocks_in(page):
    """What a reader types of each block of a page, which has no button if that is nothing."""
    text = page.read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if language == "console":
            yield "\n".join(command for command, _ in commands_in(block))
        elif language != "output":
            yield block


def lines_of(text):
    """The lines of a text. Empty lines are left out: they are the places of the output."""
    return [line for line in text.splitlines() if line]


def test_drawings_show_all_their_words(address, browser):
    page = browser.new_page()
    broken = {}
    for path in sorted((ROOT / "docs" / "drawings").rglob("*.svg")):
        page.goto(f"{address}/{path.relative_to(ROOT / 'docs').as_posix()}")
        if words := cut_off(page):
            broken[path.name] = words
    page.close()
    assert broken == {}


def record_external_request(url, address, complaints):
    if not url.startswith((address, "data:", "blob:")):
        complaints.append(f"{url} was requested")


def is_too_wide(page):
    """Whether the page scrolls sideways, or some of it is cut off and cannot be scrolled to."""
    return bool(
        page.evaluate(
            """() => document.documentElement.scrollWidth > window.innerWidth
            || [...document.querySelectorAll("article *")].some((element) =>
                element.getBoundingClientRect().right > window.innerWidth + 1
                && !element.closest("pre, .md-typeset__scrollwrap"))"""
        )
    )


def cut_off(page):
    """Words of a drawing that do not fit into it."""
    return page.evaluate(
        """() => [...document.querySelectorAll("text")].filter((text) => {
            const [inner, outer] = [text, text.closest("svg")].map(
                (element) => element.getBoundingClientRect());
            return inner.left < outer.left || inner.right > outer.right;
        }).map((text) => text.textContent)"""
    )


CONTRAST = """() => {
    const paper = document.createElement("canvas").getContext("2d");
    const rgb = (...layers) => {
        for (const layer of layers) { paper.fillStyle = layer; paper.fillRect(0, 0, 1, 1); }
        return paper.getImageData(0, 0, 1, 1).data;
    };
    const luminance = (colour) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
        const part = colour[i] / 255;
        return sum + weight * (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    }, 0);
    const item = document.querySelector(".md-nav--primary a.md-nav__link--active");
    const layers = [];
    for (let it = item; it; it = it.parentElement) {
        layers.unshift(getComputedStyle(it).backgroundColor);
    }
    const below = luminance(rgb("white", ...layers));
    const text = luminance(rgb("white", ...layers, getComputedStyle(item).color));
    return (Math.max(below, text) + 0.05) / (Math.min(below, text) + 0.05);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_current_menu_item_can_be_read(address, browser, scheme):
    page = browser.new_page(viewport={"width": WIDTHS["desktop"], "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{address}/how-to/retries.html", wait_until="networkidle")
    assert page.evaluate(CONTRAST) >= 4.5
    page.close()


def test_copy_button_is_visible_without_a_pointer(address, browser):
    page = browser.new_page()
    page.goto(f"{address}/how-to/retries.html", wait_until="networkidle")
    button = page.locator(".md-code__button:visible").first
    opacity = button.evaluate("it => getComputedStyle(it).color.match(/[\\d.]+/g)[3] ?? 1")
    assert float(opacity) >= 0.5
    page.close()


def test_sample_of_doctor_is_whole(address, browser):
    page = browser.new_page(viewport={"width": WIDTHS["desktop"], "height": 900})
    page.goto(f"{address}/how-to/first-contact.html", wait_until="networkidle")
    widths = page.locator("pre code").first.evaluate("it => [it.scrollWidth, it.clientWidth]")
    assert widths[0] <= widths[1]
    page.close()


def test_closed_drawer_takes_no_focus(address, browser):
    page = browser.new_page(viewport={"width": WIDTHS["phone"], "height": 900})
    page.goto(f"{address}/how-to/retries.html", wait_until="networkidle")
    for _ in range(5):
        page.keyboard.press("Tab")
        right = page.evaluate("document.activeElement.getBoundingClientRect().right")
        assert right > 0, "the focus is on something beside the screen"
    page.close()


def test_missing_page_links_to_the_start_pages(site):
    text = (site / "404.html").read_text(encoding="utf-8").partition("<article")[2]
    assert {"/index.html", "/zh/index.html"} <= {*re.findall('href="([^"]+)"', text)}


def test_chinese_pages_have_chinese_tabs_and_search(address, browser):
    page = browser.new_page(viewport={"width": WIDTHS["desktop"], "height": 900})
    page.goto(f"{address}/zh/retries.html", wait_until="networkidle")
    tabs = page.locator(".md-tabs__link").all_inner_texts()
    assert tabs[:2] == ["中文文档", "日常使用"]
    assert [tab for tab in tabs if tab.isascii()] == ["English"]
    assert page.locator(".md-search__button").inner_text().strip().startswith("搜索")
    page.keyboard.press("Control+k")
    page.locator("input:focus").fill("盘点")
    page.get_by_text(re.compile(r"^\d+ 个结果$")).wait_for()
    page.close()


SEARCHES = {
    "en": [
        ("cron nightly", "how-to/inventory.html#every-night"),
        ("csv export", "how-to/terminal.html#export-to-a-file-csv-json"),
        ("system busy", "how-to/troubleshooting.html#-1-the-system-is-busy"),
        ("ticket", "how-to/service-provider.html#receive-the-ticket"),
        ("install", "how-to/installation.html"),
        ("access token", "how-to/tokens.html"),
        ("exit code", "reference/cli.html#exit-codes"),
        ("40001", "how-to/troubleshooting.html#40001-40014-42001-the-access-token-is-refused"),
        ("iter_functions", "reference/client.html#tcbclientiter_functions"),
        ("proxy", "how-to/troubleshooting.html#behind-a-proxy"),
        ("retries", "how-to/retries.html"),
        ("notebook", "how-to/sync.html#notebooks"),
        ("pagination", "explanation/pagination.html"),
    ],
    "zh": [
        ("断点续传", "zh/pagination.html#断点续传"),
        ("定时任务", "zh/inventory.html#每晚运行"),
        ("示例", "zh/index.html#运行示例"),
        (
            "access_token 过期",
            "zh/troubleshooting.html#400014001442001access_token-无效或已过期",
        ),
        ("系统繁忙", "zh/troubleshooting.html#-1系统繁忙"),
        ("过期", "zh/troubleshooting.html#400014001442001access_token-无效或已过期"),
        ("云函数", "zh/pagination.html"),
        ("第三方平台", "zh/service-provider.html"),
        ("白名单", "zh/troubleshooting.html#4016461004ip-不在白名单中"),
        ("盘点", "zh/inventory.html"),
        ("重试", "zh/retries.html"),
        ("接口调用凭证", "zh/tokens.html"),
        ("45009", "zh/troubleshooting.html#45009当天的调用次数已用完"),
        ("退出码", "zh/cli.html#退出码"),
        ("ticket", "zh/service-provider.html#接收-ticket"),
    ],
}


@pytest.mark.parametrize(
    ("language", "words", "place"),
    [(language, *search) for language, searches in SEARCHES.items() for search in searches],
)
def test_search_finds_the_right_page_of_its_language_first(
    address, browser, language, words, place
):
    page = browser.new_page()
    start = "zh/index.html" if language == "zh" else "index.html"
    page.goto(f"{address}/{start}", wait_until="networkidle")
    page.keyboard.press("Control+k")
    page.locator("input:focus").fill(words)
    results = page.locator("dialog ol a")
    results.first.wait_for(state="attached")
    found = [
        unquote(link).removeprefix(f"{address}/")
        for link in results.evaluate_all("links => links.map((link) => link.href)")
    ]
    page.close()
    assert found[0] == place
    assert {name.startswith("zh/") for name in found} == {language == "zh"}


def test_search_results_open_their_page(address, browser):
    page = browser.new_page()
    page.goto(f"{address}/zh/index.html", wait_until="networkidle")
    page.keyboard.press("Control+k")
    page.locator("input:focus").fill("盘点")
    page.locator("dialog ol a").first.click()
    page.wait_for_url(f"{address}/zh/inventory.html*")
    assert page.locator("h1").inner_text().startswith("盘点")
    page.close()
