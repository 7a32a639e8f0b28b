"""A page's blocks are pasted as a reader pastes them: nothing but the visible blocks is there."""

from pathlib import Path

import pytest
from doc_examples import PARSERS, setup, teardown
from sybil import Sybil

ROOT = Path(__file__).parents[2]
VISIBLE = "```python\n{}\n```\n\n"


@pytest.fixture
def read(tmp_path):
    """Evaluate each block of a page."""

    def evaluate(*blocks):
        path = tmp_path / "page.md"
        path.write_text("# Page\n\n" + "".join(blocks), encoding="utf-8")
        document = Sybil(parsers=PARSERS, pattern="*.md", path=str(tmp_path)).parse(path)
        setup(document.namespace)
        try:
            for example in document.examples():
                example.evaluate()
        finally:
            teardown(document.namespace)

    return evaluate


@pytest.mark.slow
def test_a_block_sees_the_names_of_the_visible_blocks_above_it(read):
    read(VISIBLE.format("a = 1"), VISIBLE.format("print(a)"), "```output\n1\n```\n")


@pytest.mark.slow
def test_a_block_does_not_see_a_name_of_the_tests(read):
    seen = "print({'emulator', 'client', 'os', 'json'} & {*globals()})"
    read(VISIBLE.format(seen), "```output\nset()\n```\n")


@pytest.mark.slow
def test_a_block_sees_only_the_settings_that_are_printed(read):
    settings = "import os\nprint(*(name for name in os.environ if name.startswith('TCB_')))"
    printed = """\
TCB_BASE_URL TCB_ACCESS_TOKEN TCB_APPID TCB_SECRET TCB_COMPONENT_APPID TCB_COMPONENT_SECRET \
TCB_COMPONENT_TICKET TCB_AUTHORIZER_APPID TCB_AUTHORIZER_REFRESH_TOKEN"""
    read(VISIBLE.format(settings), f"```output\n{printed}\n```\n")


@pytest.mark.slow
def test_a_block_that_raises_fails(read):
    with pytest.raises(AssertionError, match=r'page\.md", line 4.*\n.*\n.*\nZeroDivisionError'):
        read(VISIBLE.format("print(1 / 0)"))


def test_no_page_has_code_that_its_reader_does_not_see():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]

    assert [page for page in pages if "invisible-code" in page.read_text(encoding="utf-8")] == []
