"""A block of a page runs after the visible blocks above it: hidden ones give it nothing."""

import pytest
from doc_examples import PARSERS, setup, teardown
from sybil import Sybil

HIDDEN = "<!--- invisible-code: python\n{}\n--->\n\n"
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


def test_blocks_see_names_of_visible_blocks_above(read):
    read(VISIBLE.format("a = 1"), VISIBLE.format("print(a)"), "```output\n1\n```\n")


@pytest.mark.parametrize("name", ["hidden", "emulator", "client", "os"])
def test_blocks_see_no_names_of_the_tests(read, name):
    with pytest.raises(NameError, match=name):
        read(HIDDEN.format("import os\nhidden = 1"), VISIBLE.format(name))


def test_hidden_blocks_cannot_define_names_of_the_page(read):
    with pytest.raises(TypeError, match="does not support item assignment"):
        read(HIDDEN.format("page['a'] = 1"))


def test_hidden_blocks_cannot_write_files(read):
    with pytest.raises(AssertionError, match="no reader has this file"):
        read(HIDDEN.format("open('data.json', 'w').close()"))


def test_hidden_blocks_set_only_variables_the_page_names(read):
    setting = HIDDEN.format("import os\nos.environ['PLANTED'] = 'x'")
    with pytest.raises(AssertionError, match="no reader sets these"):
        read(setting)
    read("Set `PLANTED`.\n\n", setting, VISIBLE.format("import os\nos.environ['PLANTED']"))
