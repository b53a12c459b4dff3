"""The prose: no measured number is typed, terms are in the glossary, the argument is visible."""

import re
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "book").glob("*.md"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DECIMAL = re.compile(r"\d+\.\d+")
# Not prose: code, glued numbers and other roles, addresses, file names, and quotes of the paper. A
# quote stands in curly quotation marks, and its sentence cites the paper or names its code.
NOT_PROSE = (
    r"```.*?```", r"(?<!`)`[^`\n]+`(?!`)", r"\{[\w:]+\}`[^`]*`", r"https?://\S+", r"\]\([^)]*\)",
    r"“[^”]*”", r"(?m)^:\w+:.*$(?<!alt)",
)  # fmt: skip


def texts(path):
    """(where, text) of a page's or notebook's prose, captions and words for pictures."""
    if path.suffix == ".md":
        yield path.name, path.read_text(encoding="utf-8")
        return
    for i, cell in enumerate(jupytext.read(path).cells):
        if cell.cell_type == "markdown":
            yield f"{path.name}, cell {i}", cell.source
        meta = cell.metadata.get("mystnb", {})
        for key, what in (("figure", "caption"), ("image", "alt")):
            if key in meta:
                yield f"{path.name}, {what} of cell {i}", meta[key][what]


def typed_decimals(text):
    """Decimals in a text that no run put there."""
    for pattern in NOT_PROSE:
        text = re.sub(pattern, " ", text, flags=re.S)
    return DECIMAL.findall(text)


@pytest.mark.parametrize("path", PAGES + NOTEBOOKS, ids=lambda path: path.name)
def test_no_number_is_typed(path):
    for where, text in texts(path):
        assert not typed_decimals(text), f"{where}: glue {typed_decimals(text)}"


def test_the_search_for_typed_numbers_finds_them():
    assert typed_decimals("an $R^2$ of 0.83, `0.1` and {glue:text}`a::b:.3f`") == ["0.83"]
    assert typed_decimals("$1.39\\times10^{12}$ and “0.994” of the paper") == ["1.39"]


@pytest.mark.parametrize("path", PAGES + NOTEBOOKS, ids=lambda path: path.name)
def test_quoted_numbers_have_a_source(path):
    for where, text in texts(path):
        for paragraph in text.split("\n\n"):
            for quote in re.findall(r"“[^”]*”", paragraph):
                if DECIMAL.search(quote):
                    assert re.search(r"\{cite(:\w)?\}|publi[sc]", paragraph), f"{where}: {quote}"


def test_terms_are_in_the_glossary_and_each_is_used():
    glossary = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
    entries = set(re.findall(r"(?m)^(\S.*)$", glossary.split(":::{glossary}")[1]))
    entries = {entry.lower() for entry in entries if not entry.startswith(":::")}
    used = set()
    for path in PAGES + NOTEBOOKS:
        for _, text in texts(path):
            for term in re.findall(r"\{term\}`(?:[^`<]*<)?([^`>]+)>?`", text):
                assert term.strip().lower() in entries, f"{path.name}: no entry {term!r}"
                used.add(term.strip().lower())
    assert len(used) >= 12


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("01_data", ["open_suite(", "split_simulations(", "check_maps(", "fit_scaling("]),
        ("02_cuts", ["open_suite(", "apply_cut(maps[example]", "fraction_cut("]),
    ],
)
def test_the_lines_of_the_argument_are_visible(name, lines):
    hidden = {"hide-input", "remove-input", "remove-cell"}
    cells = jupytext.read(ROOT / "notebooks" / f"{name}.ipynb").cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    visible = [cell.source for cell in code if not hidden & set(cell.metadata.get("tags", []))]
    for line in lines:
        assert any(line in source for source in visible), f"{name}: folded: {line}"
    for source in visible:
        assert "plots_" not in source, f"{name}: not folded: {source}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_chapters_link_their_terms_and_end_with_their_provenance(path):
    cells = jupytext.read(path).cells
    terms = {term for _, text in texts(path) for term in re.findall(r"\{term\}`[^`]+`", text)}
    assert len(terms) >= 3, f"{path.name}: links {len(terms)} terms of the glossary"
    assert cells[-2].source == "## Provenance"
