"""The prose: no typed measurements, terms in the glossary, provenance, plain English."""

import io
import re
import tokenize
from pathlib import Path

import jupytext
import pytest
from conftest import NOTEBOOKS, PAGES, ROOT

DECIMAL = re.compile(r"\d+\.\d+")
# Not prose: code, glued numbers and other roles, addresses, file names, and quotations from the
# paper, which are in curly quotation marks; their paragraph cites the paper or mentions its code.
NOT_PROSE = (
    r"```.*?```", r"(?<!`)`[^`\n]+`(?!`)", r"\{[\w:]+\}`[^`]*`", r"https?://\S+", r"\]\([^)]*\)",
    r"“[^”]*”", r"(?m)^:\w+:.*$(?<!alt)",
)  # fmt: skip


def texts(path):
    """Yield place and text of the prose, captions and alt texts of a page or notebook."""
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
    """Return the decimal numbers in a text that are not glued."""
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_chapters_link_their_terms_and_end_with_their_provenance(path):
    cells = jupytext.read(path).cells
    terms = {term for _, text in texts(path) for term in re.findall(r"\{term\}`[^`]+`", text)}
    assert len(terms) >= 3, f"{path.name}: links {len(terms)} terms of the glossary"
    assert cells[-2].source == "## Provenance"


# --------------------------------------------------------------------------------------------------
# Plain English
# --------------------------------------------------------------------------------------------------
MOST_HITS = 2  # unidiomatic phrases in the whole repository; lower it as they disappear
# "One row a run" instead of "one row per run": a counted noun, an article and a unit.
COUNTED = (
    "numbers|rows|values|estimates|GPUs|cores|threads|seconds|minutes|hours|bytes|MB|GB|lines|"
    "columns|curves|panels|points|bars|scores|errors|draws|samples|steps|seeds|files|maps|networks|"
    "jobs|processes|predictions|trainings|noise|one"
)
UNIT = (
    "map|run|cut|chapter|suite|seed|parameter|pixel|simulation|page|file|case|method|line|row|"
    "network|epoch|core|process|machine|node|job|kind|part|level|band|bin|panel|training|stage|rule|"
    "profile|trial|class|block|batch|slab|worker|step|group|call|test|second(?! [a-z])"
)
# Before these words, the article starts a new clause or a longer noun.
FOLLOWED = "(?! (?:is|are|was|may|can|has|must|that|which|of|file)\\b)"
PHRASES = [
    rf"\b(?:{COUNTED}|one (?!is|has)\w+|(?:R2|R\^2\$|loss),) (?-i:an?) (?:{UNIT})\b{FOLLOWED}",
    r"\bh(?:angs?|ung) on\b",
    r"\bst(?:ands?|ood) (?:on|in)\b(?! for\b)",
    r"\banew\b",
    r"\bgo(?:es)? on\b",
    r"\bof (?:its|their|our|your|his|her) own\b",
    r"\bbeside\b",
    r"\bat hand\b",
    r"\btells? of\b",
    r"\bwho(?:ever)? waits\b",
    r"\bwhat (?:is|was|were) (?:left|cut)\b",
    r"\bwhat (?:made|makes) (?:this|it|them)\b|\bwhat can happen\b",
    r"\b(?:files?|networks?|maps?|tables?|pages?|profiles?|runs?|headers?) "
    r"(?:says?|knows?|asks?|forgets?|remembers?)\b",
]
PHRASES = [re.compile(pattern.replace(" ", r"\s+"), re.I) for pattern in PHRASES]
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".toml", ".js", ".css", ".cfg"}
FOLDERS = (
    ".ci", ".github", "benchmarks", "book", "configs", "cosmolib", "data", "lite", "notebooks",
    "results", "tests", "workflow",
)  # fmt: skip


def english(path):
    """Return the text of a file without Python code and comment signs, with unchanged lines."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        lines = text.splitlines()
        kept = [[" "] * len(line) for line in lines]
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if tokenize.tok_name[token.type] in ("COMMENT", "STRING", "FSTRING_MIDDLE"):
                (first, start), (last, end) = token.start, token.end
                for row in range(first, last + 1):
                    part = slice(start if row == first else 0, end if row == last else None)
                    kept[row - 1][part] = lines[row - 1][part]
        text = "\n".join(map("".join, kept))
    return text if path.suffix == ".md" else re.sub(r"(?m)^(\s*)(?:#+|//)", r"\1 ", text)


def unidiomatic(text):
    """Return line number and text of each unidiomatic phrase, which may span several lines."""
    matches = [match for pattern in PHRASES for match in pattern.finditer(text)]
    return sorted((text.count("\n", 0, m.start()) + 1, " ".join(m[0].split())) for m in matches)


def test_the_english_is_plain():
    paths = {path for folder in FOLDERS for path in (ROOT / folder).rglob("*")} | {*ROOT.glob("*")}
    hits = [
        f"{path.relative_to(ROOT)}:{line}: {phrase}"
        for path in sorted(paths - {Path(__file__).resolve()})
        if path.is_file() and "mathjax" not in path.parts
        if path.suffix in SUFFIXES or path.name in ("Makefile", "Snakefile", "run")
        for line, phrase in unidiomatic(english(path))
    ]
    assert len(hits) <= MOST_HITS, "\n".join([f"{len(hits)} unidiomatic phrases:", *hits])


@pytest.mark.parametrize(
    "text",
    [
        "The table has one row a run.", "R2, a map", "a few numbers a map", "one line a suite",
        "four maps a second", "Keys that a run hangs on", "The loss stands on 64 maps.",
        "The run is done anew.", "An interrupted study goes\non where it was.",
        "a folder of its own", "The legend beside the map", "with no build at hand",
        "A mask tells of the threshold.", "Who waits is told.", "what was cut from a file",
        "as the profile says", "The network knows the scale.", "What made this page",
    ],
)  # fmt: skip
def test_unidiomatic_phrases_are_found(text):
    assert len(unidiomatic(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "The table has one row per run.", "R2 per map", "Return a map of pixels.", "Draw a map.",
        "the maps a network is trained on", "For each map a point is drawn.",
        "a third run", "one is a training map",
        "Pick a map, a parameter and a method.", "1.3 draws a second header", "Besides, it depends",
        "The result depends on it.", "the last one of each suite", "the profile sets it",
        "a stand-in for data", "Workers can share a study.", "64 pixels a side",
    ],
)  # fmt: skip
def test_idiomatic_phrases_are_not(text):
    assert unidiomatic(text) == []


def test_the_search_reads_comments_and_strings_only(tmp_path):
    path = tmp_path / "a.py"
    path.write_text('beside = 1  # beside\n"""One\nbeside."""\n# done\n# anew\nanew = f"a {1}"\n')
    assert unidiomatic(english(path)) == [(1, "beside"), (3, "beside"), (5, "anew")]
