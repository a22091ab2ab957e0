"""Sphinx configuration of the documentation site; ``make docs`` builds it."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent)]

import arc  # noqa: E402

project = "arc-communication"
author = "arc-communication maintainers"
project_copyright = author
version = release = arc.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "configuration_reference"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 80

html_theme = "pydata_sphinx_theme"
html_title = "arc-communication"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "arc-communication"},
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars: dict[str, list[str]] = {"quickstart": [], "contributing": []}
