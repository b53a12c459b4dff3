"""Check the files of a built book, without a browser: ``check_site.py HTML``.

Each fault is printed on one line: a broken link or anchor, a file that is fetched from another
host, a picture without alt text, a page that is too large, a chapter that is too long, or a page
without its provenance.
"""

import argparse
import gzip
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cosmolib.study.io import exit_code  # noqa: E402

ALT = 40  # minimum length of a figure's alt text
PAGE_BYTES = 3_000_000  # of a page with its pictures, and of everything a first visit fetches
BOOK_BYTES = 60_000_000
WORDS, FIGURES = 2000, 12  # of a chapter; captions count, code, tables and folded text do not
FETCHED = ("script", "img", "iframe", "source", "video")  # elements with a `src`
STYLES = ("stylesheet", "icon", "preload", "shortcut icon")  # links that a browser fetches
TEXT = (".html", ".css", ".js", ".svg", ".json", ".txt")  # compressed by servers
GENERATED = ("genindex.html", "search.html", "index.html")  # they have no provenance


class Page(HTMLParser):
    """Collect the links, fetched addresses, ids and pictures (with alt text) of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.fetched, self.pictures, self.ids = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = {key: value or "" for key, value in attributes}
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "link" and found.get("rel") in STYLES:
            self.fetched.append(found.get("href", ""))
        if tag in FETCHED and found.get("src"):
            self.fetched.append(found["src"])
        if tag == "img":
            self.pictures.append((found.get("src", ""), found.get("alt"), found.get("class", "")))


def check(html):
    """Return all faults of the book in the folder `html`, and a summary of its size."""
    html = Path(html).resolve()
    paths = [p for p in sorted(html.rglob("*.html")) if "_static" not in p.relative_to(html).parts]
    if not paths:
        raise FileNotFoundError(f"{html} contains no pages; build the book first")
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in paths}
    faults, largest = [], 0
    for path, page in pages.items():
        name = path.relative_to(html).as_posix()
        faults += [f"{name}: {text}" for text in _links(path, page, pages, html)]
        faults += [f"{name}: {text}" for text in _pictures(page)]
        twice = {one for one in page.ids if page.ids.count(one) > 1}
        faults += [f"{name}: id {one!r} occurs twice" for one in sorted(twice)]
        own, sent = sizes(path, page)
        largest = max(largest, own, sent)
        if max(own, sent) > PAGE_BYTES:
            faults.append(
                f"{name}: {own} bytes with its pictures and {sent} to fetch at a first visit; "
                f"at most {PAGE_BYTES} are allowed"
            )
        if name.startswith("notebooks/"):
            words, figures = length(path.read_text(encoding="utf-8"))
            if words > WORDS or figures > FIGURES:
                faults.append(
                    f"{name}: {words} words and {figures} figures; at most {WORDS} and {FIGURES} "
                    "are allowed"
                )
        if name not in GENERATED and "provenance" not in page.ids:
            faults.append(f"{name}: has no section on its provenance")
    total = sum(path.stat().st_size for path in html.rglob("*") if path.is_file())
    if total > BOOK_BYTES:
        faults.append(f"the book has {total} bytes; at most {BOOK_BYTES} are allowed")
    links = sum(len(page.links) for page in pages.values())
    report = {"pages": len(pages), "links": links, "bytes": total, "largest_page": largest}
    return faults, report


def length(text):
    """Return the number of words and of figures in the article of a page's HTML."""
    article = text.partition("<article")[2].partition("</article>")[0]
    left_out = r"<(script|style|pre|table|svg|details)\b.*?</\1>"
    article = re.sub(left_out, " ", article, flags=re.DOTALL)
    words = re.findall(r"[^\W\d_][\w'’-]*", re.sub(r"<[^>]*>", " ", article))
    return len(words), len(re.findall("<img ", article))


def local(path, address):
    """Return the file and the fragment of an address; the file is None for another host."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None, ""
    target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
    return target, unquote(parts.fragment)


def _links(path, page, pages, html):
    for address in page.links + page.fetched:
        target, fragment = local(path, address)
        if target is None:
            if address in page.fetched and not address.startswith("data:"):
                yield f"fetches from another host: {address[:100]}"
        elif not target.is_relative_to(html):
            yield f"link leaves the book: {address}"
        elif not target.is_file():
            yield f"broken link: {address}"
        elif fragment and target in pages and fragment not in pages[target].ids:
            yield f"broken anchor: {address}"


def _pictures(page):
    for source, alt, kind in page.pictures:
        figure = "/_images/" in source or source.startswith("data:") or "headline" in source
        if alt is None or (figure and len(alt) < ALT and "logo" not in kind):
            yield f"picture {source[:60]}: the alt text {alt!r} has fewer than {ALT} characters"
        elif re.search(r"[0-9a-f]{32}|\.png", alt):
            yield f"picture {source[:60]}: its alt text is a file name"


def sizes(path, page):
    """Return the bytes of a page with its own pictures, and of everything a first visit fetches.

    For a first visit, text is counted as compressed by the server.
    """
    own = sent = 0
    for file in {path, *(local(path, one)[0] for one in page.fetched)}:
        if file is None or not file.is_file():
            continue
        data = file.read_bytes()
        sent += len(gzip.compress(data)) if file.suffix in TEXT else len(data)
        own += len(data) if file == path or file.parent.name == "_images" else 0
    return own, sent


def main(arguments=None):
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("html", help="folder of the built site")
    return exit_code("error", show, parser.parse_args(arguments).html)


def show(html):
    """Print the faults of a book; return whether there are any."""
    faults, report = check(html)
    for line in faults:
        print(line)
    print(json.dumps({**report, "faults": len(faults)}))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
