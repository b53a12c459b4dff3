"""Add a description to each page, for search engines and shared links.

The description is the first point of the overview or the first paragraph, in at most 200
characters. sphinxext.opengraph would choose the list of requirements and keep formulae in TeX.
"""

import html
import re

from docutils import nodes

LENGTH = 200
SYMBOLS = {r"\Omega": "Ω", r"\sigma": "σ", r"\delta": "δ", r"\Sigma": "Σ", r"\chi": "χ", "^2": "²"}


def describe(doctree):
    """Return the description of a page, or an empty string if it has no paragraph."""
    for box in doctree.findall(nodes.admonition):
        if box[0].astext() == "Overview":
            return shorten(next(box.findall(nodes.paragraph)))
    for paragraph in doctree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, nodes.section):
            return shorten(paragraph)
    return ""


def shorten(paragraph):
    """Return the text of a paragraph without TeX and citations, shortened to `LENGTH`."""
    text = ""
    for node in paragraph.findall(nodes.Text):
        piece = node.astext()
        parent = node.parent
        if isinstance(parent, nodes.math):
            for name, symbol in SYMBOLS.items():
                piece = piece.replace(name, symbol)
            piece = re.sub(r"\\[a-z]+|[{}$_]", "", piece)
        while parent is not paragraph and "cite" not in " ".join(parent.get("classes", [])).lower():
            parent = parent.parent
        text += piece if parent is paragraph else ""
    text = re.sub(r"\s*\[[^\]]*\d{4}\]", "", " ".join(text.split()))  # [Someone et al., 2025]
    if len(text) <= LENGTH:
        return text
    return text[: LENGTH - 1].rsplit(" ", 1)[0].rstrip(",;:") + "…"


def add(app, pagename, templatename, context, doctree):
    """Set the description of a page."""
    if doctree:
        text = describe(doctree) or f"{context['title']}. {app.config.html_title}"
        context["meta"] = {**(context.get("meta") or {}), "og:description": text}
        tag = f'<meta name="description" content="{html.escape(text)}" />\n'
        context["metatags"] = context.get("metatags", "") + tag


def setup(app):
    """Run before sphinxext.opengraph, which has the default priority of 500."""
    app.connect("html-page-context", add, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
