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


def test_a_block_sees_the_names_of_the_visible_blocks_above_it(read):
    read(VISIBLE.format("a = 1"), VISIBLE.format("print(a)"), "```output\n1\n```\n")


@pytest.mark.parametrize("name", ["hidden", "emulator", "client", "os"])
def test_a_block_does_not_see_a_name_of_the_tests(read, name):
    with pytest.raises(NameError, match=name):
        read(HIDDEN.format("import os\nhidden = 1"), VISIBLE.format(name))


def test_a_hidden_block_cannot_define_a_name_of_the_page(read):
    with pytest.raises(TypeError, match="does not support item assignment"):
        read(HIDDEN.format("page['a'] = 1"))


def test_a_hidden_block_cannot_write_a_file(read):
    with pytest.raises(AssertionError, match="no reader has this file"):
        read(HIDDEN.format("open('data.json', 'w').close()"))


def test_a_hidden_block_sets_only_what_the_page_tells_its_reader_to_set(read):
    setting = HIDDEN.format("import os\nos.environ['PLANTED'] = 'x'")
    with pytest.raises(AssertionError, match="no reader sets these"):
        read(setting)
    read("Set `PLANTED`.\n\n", setting, VISIBLE.format("import os\nos.environ['PLANTED']"))
