"""The site: `make docs` builds it in `docs/_build/html`, without the network. Sphinx reads this file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from vrm import __version__

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "_site")]

project = "VRM"
author = "The VRM authors"
version = release = __version__
project_copyright = author

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "formulas",
    "pages",
]
exclude_patterns = ["_build", "_site"]

myst_enable_extensions = ["dollarmath", "attrs_block"]
myst_heading_anchors = 4
# Tables of studies are blocks of a page that begin where their question begins.
suppress_warnings = ["myst.header"]

# Docstrings write code in single backticks, as Markdown does.
default_role = "literal"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
# Names of other libraries stay plain text: their own sites are not read while this one is built.
nitpicky = False

html_theme = "furo"
html_title = f"VRM {release}"
html_show_sphinx = False
html_static_path = ["_site/static"]
html_css_files = ["site.css"]
html_theme_options: dict[str, Any] = {"navigation_with_keys": True}
copybutton_prompt_text = "$ "
