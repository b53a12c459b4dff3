"""Drop sphinx-thebe's scripts: no cell of this book is live, and the theme adds them twice.

The second copy declares the same constants again, which is an error in the browser's console.
"""


def drop_thebe(app, pagename, templatename, context, doctree):
    """Remove script files and inline scripts that mention thebe from one page."""
    scripts = context.get("script_files", [])
    for script in list(scripts):
        body = getattr(script, "attributes", {}).get("body") or ""
        if "thebe" in f"{getattr(script, 'filename', script)}{body}".lower():
            scripts.remove(script)


def setup(app):
    """Run after every other extension has added its scripts."""
    app.connect("html-page-context", drop_thebe, priority=999)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
