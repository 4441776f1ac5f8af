"""The site of these pages: `sphinx-build -nW -c docs . site`, with the extra `docs` installed.

The pages are the Markdown files that a checkout shows, README and change log among them. The site's contents are
the links of index.md, in their order and under their headings: there is no second list to keep.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "django_jobs"
extensions = ["myst_parser"]
# From the root of the checkout, so that links mean the same here and there.
include_patterns = ["README.md", "CHANGELOG.md", "docs/**.md"]
root_doc = "docs/index"
html_theme = "furo"
html_title = project
html_show_copyright = False
# Pages link to headings by the names that they have on a forge, four levels deep.
myst_heading_anchors = 4

PAGE = re.compile(r"\]\(([\w./-]+)\.md\)")


def add_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """Append what the first page links to as the site's contents, one list under each heading."""
    if docname != app.config.root_doc:
        return
    for part in re.split(r"^## ", source[0], flags=re.MULTILINE):
        caption, pages = part.partition("\n")[0], PAGE.findall(part)
        if not part.startswith("#"):
            source[0] += (
                f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"
            )
        else:
            source[0] += "\n\n```{toctree}\n:hidden:\n\n" + "\n".join(pages) + "\n```\n"


def setup(app: Sphinx) -> None:
    """Take part in the build."""
    app.connect("source-read", add_contents)
