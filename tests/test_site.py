"""Test the checks of a built book, and the changes that staging makes to pages and notebooks."""

import base64
import io
import json
import re

import check_browser
import check_site
import colophon
import numpy as np
import pictures
import pytest
from PIL import Image

WORDS = "Two panels with points that rise from the left to the right"
GOOD = """<!DOCTYPE html><html lang="en"><head><title>A page</title>
<link rel="icon" href="data:,"></head><body><main><article>
<h1>A page</h1><p id="here">Text, <a href="other.html#there">a link</a>.</p>
<img src="{picture}" alt="{words}">{more}
<section id="provenance"><h2>Provenance</h2></section>
</article></main></body></html>"""


def png(side=8):
    pixels = np.linspace(0, 255, side * side).reshape(side, side).astype(np.uint8)
    with io.BytesIO() as buffer:
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()


@pytest.fixture
def site(tmp_path):
    """Write a book of two pages, the first with additional HTML."""

    def write(more="", words=WORDS, other='<p id="there">There.</p>'):
        (tmp_path / "_images").mkdir(exist_ok=True)
        (tmp_path / "_images" / "a.png").write_bytes(png())
        for name, extra in (("page.html", more), ("other.html", other)):
            text = GOOD.format(picture="book/../_images/a.png", words=words, more=extra)
            (tmp_path / name).write_text(text)
        (tmp_path / "book").mkdir(exist_ok=True)
        return tmp_path

    return write


def test_a_good_book_has_no_fault(site):
    faults, report = check_site.check(site())
    assert faults == []
    assert (report["pages"], report["links"]) == (2, 2)


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ('<a href="gone.html">x</a>', "page.html: broken link: gone.html"),
        ('<a href="other.html#gone">x</a>', "page.html: broken anchor: other.html#gone"),
        ('<a href="#gone">x</a>', "page.html: broken anchor: #gone"),
        ('<a href="../outside.html">x</a>', "page.html: link leaves the book: ../outside.html"),
        ('<img src="gone.png" alt="">', "page.html: broken link: gone.png"),
        ('<script src="https://a.b/c.js"></script>', "fetches from another host"),
        ('<link rel="stylesheet" href="//a.b/c.css">', "fetches from another host"),
        ('<img src="book/../_images/a.png">', "the alt text None has fewer than 40"),
        ('<img src="book/../_images/a.png" alt="x">', "the alt text 'x' has fewer than 40"),
        (f'<img src="data:," alt="{"ab" * 30}.png">', "its alt text is a file name"),
        ('<p id="here"></p>', "id 'here' occurs twice"),
        (f"<p>{'x' * 3_000_000}</p>", "at most 3000000 are allowed"),
    ],
)
def test_each_fault_is_found(site, more, fault):
    faults, _ = check_site.check(site(more))
    assert any(fault in line for line in faults), faults


def test_links_provenance_and_sizes(site, capsys):
    """Links to other sites are allowed; a page without provenance is a fault."""
    folder = site('<a href="https://arxiv.org/abs/2504.17839">x</a>')
    page = folder / "page.html"
    text = page.read_text()
    assert check_site.check(folder)[0] == []
    page.write_text(text.replace("provenance", "something-else"))
    assert check_site.check(folder)[0] == ["page.html: has no section on its provenance"]
    script = folder / "big.js"
    page.write_text(text.replace("</head>", '<script src="big.js"></script></head>'))
    script.write_text("x" * 5_000_000)  # small when compressed
    assert check_site.check(folder)[0] == []
    script.write_bytes(np.random.default_rng(0).bytes(4_000_000))
    assert any("to fetch at a first visit" in line for line in check_site.check(folder)[0])
    assert check_site.main([str(folder / "book")]) == 2
    assert "build the book first" in capsys.readouterr().err


def test_long_chapters_are_found(site):
    """A chapter has at most 2,000 words and 12 figures; folded text is not counted."""
    folder = site()
    (folder / "notebooks").mkdir()
    page = (folder / "page.html").read_text().replace("book/../", "../")
    page = page.replace("other.html", "../other.html")
    words = "<p>word's <b>word</b></p>" * 990
    folded = f"<details><p>{'word ' * 9000}</p></details>"
    picture = f'<img src="../_images/a.png" alt="{WORDS}">'

    def chapter(more):
        (folder / "notebooks" / "a.html").write_text(page.replace("<section", more + "<section", 1))
        return check_site.check(folder)[0]

    assert chapter(words + folded + picture * 11) == []
    assert "notebooks/a.html: 3966 words and 1 figures" in "".join(chapter(words + words))
    assert "13 figures" in "".join(chapter(picture * 12))


# --------------------------------------------------------------------------------------------------
# The browser
# --------------------------------------------------------------------------------------------------
EXPLORER = """<div class="explorer" id="e">
<div class="still" {still}><img src="data:," alt="x"></div>
<div class="live"><label>a<input type="range" data-key="step" min="0" max="9"></label>
<svg role="img" aria-label="a line" width="50" height="9"></svg></div></div>
<script>const s = document.querySelector("svg"), r = document.querySelector("input");
r.addEventListener("input", () => {{ s.innerHTML = "<text>" + {shown} + "</text>"; }});</script>"""
needs_browser = pytest.mark.skipif(
    check_browser.find_browser() is None, reason="no Chromium on this machine"
)


@needs_browser
def test_the_browser_finds_each_fault(site):
    """A page with many faults has one line per fault."""
    more = """<p>{glue:text}`gone`</p><span class="math">\\(a\\)</span>
    <div style="width: 1500px">wide</div><p style="color: #999">pale</p>
    <script>console.error("hello"); fetch("https://example.org/a");</script>
    <script src="gone.js"></script>""" + EXPLORER.format(still="hidden", shown="1")
    folder = site(more)
    page = folder / "page.html"
    faults = reading(folder, [page.name])
    for fault in (
        "console: hello", "status 404", "request to another host: https://example.org/a",
        "px sideways: div", "equation not drawn", "markup not rendered", "axe color-contrast",
    ):  # fmt: skip
        assert any(fault in line for line in faults), (fault, faults)


@needs_browser
@pytest.mark.parametrize(
    ("still", "shown", "fault"),
    [("hidden", "r.value", None), ("hidden", "'same'", "changes no picture"),
     ("", "r.value", "shows the static picture although scripts run")],
)  # fmt: skip
def test_the_browser_moves_the_sliders(site, still, shown, fault):
    made = EXPLORER.format(still=still, shown=shown)
    # Draw the constant picture before the first key press.
    made = made.replace("></svg>", "><text>same</text></svg>")
    faults = [line for line in reading(site(made), ["page.html"]) if "#e" in line]
    assert bool(faults) == (fault is not None)
    assert all(fault in line for line in faults)


def reading(folder, names):
    """Return the faults of some pages in the light theme."""
    from playwright.sync_api import sync_playwright

    server, base = check_browser.serve(folder)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=check_browser.find_browser(), args=check_browser.FLAGS
        )
        reader = check_browser.Reader(browser)
        for name in names:
            reader.look(base, name, "light")
        browser.close()
    server.shutdown()
    server.server_close()
    return reader.faults


# --------------------------------------------------------------------------------------------------
# Changes made by staging and build
# --------------------------------------------------------------------------------------------------
def test_prose_pages_have_a_provenance(tmp_path):
    pages = tmp_path / "book"
    pages.mkdir()
    (pages / "a.md").write_text(
        "# A\n\n{glue:text}`../notebooks/06_results.ipynb::n_runs:d`\n"
        "{glue:text}`../notebooks/03_training.ipynb::x:d`\n"  # stores no table
    )
    (pages / "b.md").write_text("# B\n")
    results = tmp_path / "runs" / "tiny" / "results"
    results.mkdir(parents=True)
    made = {"git": {"commit": "c" * 40, "dirty": False}, "seconds": 12.3}
    for name in ("01_data", "06_results"):
        (results / f"{name}.json").write_text(json.dumps({"provenance": made}))
    colophon.write("tiny", pages, tmp_path / "runs")
    first, second = ((pages / name).read_text() for name in ("a.md", "b.md"))
    assert "## Provenance" in first
    assert "`make study PROFILE=tiny`" in first
    assert "[06 results](../notebooks/06_results.ipynb): commit `cccccccccccc`, 12 seconds" in first
    assert "Lite `" in first
    assert re.search(r"commit `\w{12}( with changes)?`, \d{4}-\d\d-\d\d .* UTC, 12 seconds", first)
    assert "01 data" not in first
    assert "06 results" not in second


def test_heavy_pictures_get_a_palette():
    rng = np.random.default_rng(0)
    few = np.repeat(rng.integers(0, 255, (40, 3)), 4000, axis=0).reshape(400, 400, 3)
    outputs = []
    for pixels in (few[rng.permutation(400)], rng.integers(0, 255, (400, 400, 3))):
        with io.BytesIO() as buffer:
            Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG", compress_level=0)
            outputs.append({"data": {"image/png": base64.b64encode(buffer.getvalue()).decode()}})
    before = [one["data"]["image/png"] for one in outputs]
    pictures.compress({"cells": [{"outputs": outputs}, {"source": "text"}]})
    after = [one["data"]["image/png"] for one in outputs]
    assert len(after[0]) < len(before[0]) / 3
    assert after[1] == before[1]  # noise: a palette would be visible
    one, other = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(text[0]))).convert("RGB"), int)
        for text in (before, after)
    )
    assert np.abs(one - other).max() <= 1
