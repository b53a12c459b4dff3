"""Put a built book beside the other published versions: ``publish.py SITE VERSION INTO``.

VERSION is ``latest`` or the tag of a release, vX.Y.Z. The highest release is ``INTO/stable`` too.
Needs nothing but Python: it runs where the right to write to the repository is.
"""

import argparse
import html
import json
import os
import re
import shutil
import sys
import uuid
from pathlib import Path

RELEASE = re.compile(r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
LEFT = re.compile(r"\.(incoming|outgoing)-[0-9a-f]{32}")  # what a killed process leaves


def publish(site, version, into):
    """Place a site in ``into/version``, and renew what lists the versions.

    Again with the same arguments it changes nothing; other versions stay as they are.

    Parameters
    ----------
    site : path-like
        The built book.
    version : str
        ``"latest"`` or ``"vX.Y.Z"``.
    into : path-like
        Root of what is published; made if it is missing.

    Raises
    ------
    ValueError
        Another name for a version, no book, or a book that was built for the other kind of version.
    """
    site, into = Path(site), Path(into)
    if version != "latest" and not RELEASE.fullmatch(version):
        raise ValueError(f"version: found {version!r}, expected latest or vX.Y.Z")
    root = root_address(site, "latest" if version == "latest" else "stable")
    into.mkdir(parents=True, exist_ok=True)
    for left in into.iterdir():
        if LEFT.fullmatch(left.name):
            shutil.rmtree(left)
    place(site, into / version)
    found = releases(into)
    if found and (version == found[0] or not (into / "stable").is_dir()):
        place(into / found[0], into / "stable")
    default = "stable" if found else "latest"
    names = ["stable"] * bool(found) + ["latest"] * (into / "latest").is_dir() + found
    rows = [
        {
            "name": f"stable ({found[0]})" if name == "stable" else name,
            "version": name,
            "url": f"{root}{name}/",
            "preferred": name == default,
        }
        for name in names
    ]
    write(into / "versions.json", json.dumps(rows, indent=1) + "\n")
    write(into / "versions.html", listing(rows))
    write(into / "index.html", entrance(f"{default}/", f"{root}{default}/"))
    # The other versions name these pages as their canonical ones, or are not for a search engine.
    write(into / "sitemap.xml", SITEMAP.format(f"{root}{default}/sitemap.xml"))
    write(into / "robots.txt", f"User-agent: *\nAllow: /\nSitemap: {root}sitemap.xml\n")
    write(into / ".nojekyll", "")  # folders that begin with an underscore are served


def root_address(site, canonical):
    """Return where all versions are published, of a book that was built for ``canonical``.

    The book says it itself, in its sitemap.
    """
    path = Path(site) / "sitemap.xml"
    if not path.is_file() or not (Path(site) / "index.html").is_file():
        raise ValueError(f"{site}: found no index.html with a sitemap.xml, expected a built book")
    text = path.read_text(encoding="utf-8")
    for address in re.findall(r"<loc>\s*(https?://[^<\s]+)\s*</loc>", text):
        parts = html.unescape(address).split("/")
        for i in range(4, len(parts)):  # after https: "" HOST, at the first tail that is a page
            if (Path(site) / "/".join(parts[i:])).is_file():
                if parts[i - 1] == canonical:
                    return "/".join(parts[: i - 1]) + "/"
                raise ValueError(
                    f"{path}: found pages of {'/'.join(parts[:i])}/, expected of .../{canonical}/"
                )
    raise ValueError(f"{path}: found no address of a page, expected one for each")


def releases(into):
    """Return the releases in a folder, highest first."""
    found = [path.name for path in Path(into).iterdir() if RELEASE.fullmatch(path.name)]
    return sorted(found, key=lambda tag: [int(n) for n in tag[1:].split(".")], reverse=True)


def place(source, target):
    """Copy a folder to ``target``, in place of what is there, by renaming: never half of it."""
    incoming = target.with_name(f".incoming-{uuid.uuid4().hex}")
    outgoing = target.with_name(f".outgoing-{uuid.uuid4().hex}")
    try:
        shutil.copytree(source, incoming)
        if target.exists():
            os.rename(target, outgoing)
        os.rename(incoming, target)
    except BaseException:
        if outgoing.exists() and not target.exists():
            os.rename(outgoing, target)
        shutil.rmtree(incoming, ignore_errors=True)
        raise
    shutil.rmtree(outgoing, ignore_errors=True)


def write(path, text):
    """Write a small file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def redirect(target, head, more=""):
    """Return a page that leads on by itself, without a script, and by a link."""
    return PAGE.format(
        head=f'<meta http-equiv="refresh" content="0; url={target}">\n{head}',
        title="Where in the cosmic web is the cosmology?",
        body=f'<p>The book is at <a href="{target}">{target}</a>.{more}</p>',
    )


def entrance(target, canonical):
    """Return the page that leads to the version which a reader should see first."""
    return redirect(
        target,
        f'<link rel="canonical" href="{canonical}">',
        ' <a href="versions.html">All versions</a>.',
    )


def listing(rows):
    """Return the page that lists the versions."""
    kinds = {"stable": ": the newest release", "latest": ": the development branch"}
    items = "\n".join(
        f'<li><a href="{row["version"]}/">{html.escape(row["name"])}</a>'
        f"{kinds.get(row['version'], '')}</li>"
        for row in rows
    )
    return PAGE.format(
        head='<meta name="description" content="All published versions of the book.">',
        title="Versions of the book",
        body=f"<h1>Versions of the book</h1>\n<ul>\n{items}\n</ul>",
    )


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
{head}
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; }}
body {{ padding: 0 1rem; }}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
SITEMAP = """<?xml version="1.0" encoding="utf-8"?>
<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
 <sitemap><loc>{}</loc></sitemap>
</sitemapindex>
"""


def main(arguments=None):
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", help="the built book, e.g. _build/html")
    parser.add_argument("version", help="latest or vX.Y.Z")
    parser.add_argument("into", help="folder of all published versions")
    options = parser.parse_args(arguments)
    try:
        publish(options.site, options.version, options.into)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(sorted(path.name for path in Path(options.into).iterdir() if path.is_dir())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
