"""How the documentation is built: offline, and a warning is an error."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from tcb_async import __version__

project = "tcb-async"
author = "The tcb-async authors"
copyright = author  # noqa: A001 - Sphinx's name for it
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "languages",
    "pages",
    "reading",
    "searching",
]
if os.environ.get("TCB_DOCS_INTERSPHINX"):  # the build needs no network unless it is asked to
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "aiohttp": ("https://docs.aiohttp.org/en/stable", None),
    }

exclude_patterns = ["_build", "_ext", "examples", "explanation/speed-results.md"]
nitpicky = True
nitpick_ignore_regex = [
    # The standard library's and other packages' names, which only intersphinx could resolve.
    (r"py:.*", r"(_?asyncio|collections|contextlib|datetime|os|pathlib|ssl|typing)\b.*"),
    (r"py:.*", r"(aiohttp|fastapi|opentelemetry|starlette)\b.*"),
    (r"py:(class|obj)", r"None|str|int|float|bool|bytes|dict|list|set|tuple|object|ValueError"),
    # Ours, but no part of what a user writes.
    (
        r"py:class",
        r"(tcb_async\..*)?(AsyncRedis|Cost_contra|Facts|MakeClient|Names|OnDrift|Page(Size)?|Reply|ResumePoint|T(_co)?|Result|Value_co)",
    ),
    (r"py:class", r"tcb_async\.fastapi\.client"),
    (r"py:obj", r"on_rotate"),
]
default_role = "py:obj"
smartquotes = False  # they would turn --output into –output
myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"

html_theme = "furo"
html_title = f"tcb-async {version}"
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["tcb.css"]
html_copy_source = False
html_search_language = "en-zh"
html_domain_indices = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}
