"""Show the verdicts in tables of class ``claims`` as badges."""

from docutils import nodes

# First words of the verdicts of cosmolib.results.claims, and CSS classes of the badges.
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
    """Run after glued texts have been inserted."""
    app.connect("doctree-resolved", add_badges, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
