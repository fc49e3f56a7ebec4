# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""How Sphinx builds the pages: C{tox -e docs} writes them to C{docs/_build/html}."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from amp_stream import __version__

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent

# pydoctor imports docs/apidocs.py by its name.
sys.path.insert(0, str(DOCS))

project = "amp_stream"
author = "the amp_stream authors"
copyright = author
release = version = __version__

extensions = [
    "myst_parser",
    "pydoctor.sphinx_ext.build_apidocs",
    "sphinx.ext.intersphinx",
    "sphinxcontrib.mermaid",
]
exclude_patterns = ["_build"]
nitpicky = True

# GitHub shows the pages as well: diagrams are fences, headings are link targets.
myst_enable_extensions = ["attrs_inline"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"amp_stream {release}"

# The API reference, in the directory "api" beside the page api.md.
pydoctor_args = [
    "--project-name=amp_stream",
    f"--project-version={release}",
    "--project-url=../index.html",
    f"--project-base-dir={ROOT}",
    "--docformat=epytext",
    "--system-class=apidocs.System",
    "--html-output={outdir}/api",
    str(ROOT / "amp_stream"),
]
pydoctor_url_path = "api/"

# Pages of the site that include a file of the checkout's root.
INCLUDING = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "SECURITY.md": "security.md",
}


def moveLinks(app: Any, path: Path, including: str, content: list[str]) -> None:
    """
    Turn the links of an included file, relative to the checkout, into links that are
    relative to C{docs}.
    """

    def moved(match: re.Match[str]) -> str:
        target, mark, anchor = match[1].partition("#")
        if target in INCLUDING:
            target = INCLUDING[target]
        elif target.startswith("docs/"):
            target = target.removeprefix("docs/")
        else:
            target = f"../{target}"
        return f"]({target}{mark}{anchor})"

    content[0] = re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", moved, content[0])


def setup(app: Any) -> None:
    """Have Sphinx call L{moveLinks}."""
    app.connect("include-read", moveLinks)
