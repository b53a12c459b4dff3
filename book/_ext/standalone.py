"""Make the built pages work offline and with screen readers.

The scripts of sphinx-thebe are removed because no cell is live; its second copy logs an error. The
theme's icon script of 1.5 MB is removed because its fonts contain the icons. Markup that confuses
screen readers is corrected.
"""

import re
from pathlib import Path

ICON_SCRIPT = re.compile(r"\s*<(?:script|link)\b[^>]*scripts/fontawesome\.js[^>]*>(?:</script>)?")
# The empty corner of a table must not be a header.
EMPTY_HEADER = re.compile(r"<th\b[^>]*>\s*(?:<p>\s*</p>|&nbsp;)?\s*</th>")
# This role is deprecated and not allowed inside a list.
CITATION = re.compile(r'(<div class="citation" id="[^"]*") role="doc-biblioentry"')
# The button that unfolds the sub-pages of a chapter in the sidebar has no name.
TOGGLE = '<summary><span class="toctree-toggle"'
NAMED = TOGGLE.replace("<summary", '<summary aria-label="more pages"')


def drop_thebe(app, pagename, templatename, context, doctree):
    """Remove the scripts that mention thebe from a page."""
    scripts = context.get("script_files", [])
    for script in list(scripts):
        body = getattr(script, "attributes", {}).get("body") or ""
        if "thebe" in f"{getattr(script, 'filename', script)}{body}".lower():
            scripts.remove(script)


def finish(app, exception):
    """Correct the files of a successful build.

    Raises
    ------
    RuntimeError
        If the theme has changed so that the corrections no longer apply.
    """
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    icons = 0
    for page in out.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        mended, n = ICON_SCRIPT.subn("", text)
        mended = EMPTY_HEADER.sub("<td></td>", mended)
        mended = CITATION.sub(r'\1 role="listitem"', mended)
        mended = mended.replace(TOGGLE, NAMED)
        icons += n
        if mended != text:
            page.write_text(mended, encoding="utf-8")
    theme = out / "_static" / "styles" / "theme.css"
    text = theme.read_text(encoding="utf-8")
    imported = '@import "../basic.css";'
    if not icons or imported not in text:
        raise RuntimeError(
            "standalone: the theme has no icon script or does not import basic.css; adapt book/_ext"
        )
    (out / "_static" / "scripts" / "fontawesome.js").unlink(missing_ok=True)
    # Inlining saves a request, and axe would resolve the address relative to the page.
    basic = (out / "_static" / "basic.css").read_text(encoding="utf-8")
    theme.write_text(text.replace(imported, basic), encoding="utf-8")


def setup(app):
    """Run after every other extension has added its scripts."""
    app.connect("html-page-context", drop_thebe, priority=999)
    app.connect("build-finished", finish, priority=999)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
