"""Badges for the verdicts in tables of class ``claims``: a colour, a sign and the word itself."""

from docutils import nodes

# The first words of a verdict of cosmolib.results.claims, and the badge's class in book.css.
BADGES = {"not supported": "refuted", "supported": "supported", "not testable": "untestable"}


def add_badges(app, doctree, docname):
    """Wrap each table cell that contains a verdict and nothing else."""
    for table in doctree.findall(nodes.table):
        if "claims" not in table["classes"]:
            continue
        for paragraph in table.findall(nodes.paragraph):
            text = paragraph.astext()
            kind = next((name for word, name in BADGES.items() if text.startswith(word)), None)
            if kind and len(text) < 40:
                badge = nodes.inline("", "", *paragraph.children, classes=["verdict", kind])
                paragraph.children = []
                paragraph += badge


def setup(app):
    """Run after the glued texts are inserted."""
    app.connect("doctree-resolved", add_badges, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
