"""The book's sources: pages exist, glued numbers are made, figures have an alt text."""

import json
import re

import jupytext
import pytest
import stage
import tables
from conftest import ROOT

from cosmolib.study.io import read_yaml

PAGES = sorted((ROOT / "book").glob("*.md"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
GLUE_ROLE = re.compile(r"\{glue(?::\w+)?\}`([^`]+)`")
FIGURE = re.compile(r"(?:```|:::)\{(?:figure|image)\}[^\n]*\n((?::[^\n]*\n)*)")
CITE = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")


def markdown(path):
    """Prose of a page or of a notebook's markdown cells."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = jupytext.read(path).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def glued(path):
    """Keys that a notebook, or a package that it imports from, glues, as regular expressions."""
    code = "\n".join(cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code")
    keys = re.findall(r"glue\(\s*f?[\"']([^\"']+)[\"']", code)
    keys += re.findall(r"[\"']([a-z][\w-]*)[\"']\s*:", code)  # {"key": value} that a loop glues
    keys += re.findall(r"f[\"']([\w{}\[\]().-]+)[\"']\s*:", code)
    keys += re.findall(r"numbers\[\"(\w+)\"\]", code)
    for module in ROOT.glob("cosmolib/*/summar*.py"):  # functions that return the glued numbers
        if f"{module.parent.name} import" in code and module.stem in code:
            text = module.read_text(encoding="utf-8")
            keys += re.findall(r"f?\"([a-z][\w{}-]*)\"", text)
            code += text
    if 'validation["numbers"]' in code:  # stored with the embedded suite
        stored = (ROOT / "data/lite/validation.json").read_text(encoding="utf-8")
        keys += json.loads(stored)["numbers"]
    for prefix in re.findall(r"glued_texts\(\s*\"(\w+)\"", code):
        keys += [f"{prefix}{{key}}_om", f"{prefix}{{key}}_s8"]
    return [re.sub(r"(\\\{)+.*?(\\\})+", r"\\w+", re.escape(key)) for key in keys]


def test_the_contents_list_every_page_once():
    toc = read_yaml(ROOT / "_toc.yml")
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    listed = [page for chapter in chapters for page in (chapter, *chapter.get("sections", ()))]
    pages = [path.relative_to(ROOT).with_suffix("").as_posix() for path in PAGES + NOTEBOOKS]
    assert sorted([toc["root"], *(page["file"] for page in listed)]) == sorted(pages)


@pytest.mark.parametrize("path", PAGES + NOTEBOOKS, ids=lambda path: path.name)
def test_glued_numbers_are_made(path):
    """A key used in prose is glued in the notebook that it names."""
    text = markdown(path)
    for item in GLUE_ROLE.findall(text):
        source, _, key = item.strip().rpartition("::")
        key = key.split(":")[0]  # the format, as in key:.3f
        notebook = (path.parent / source).resolve() if source else path
        assert notebook.suffix == ".ipynb", f"{path.name}: {item}: want NOTEBOOK.ipynb::key"
        assert notebook.is_file(), f"{path.name}: {item}: no such notebook"
        assert any(re.fullmatch(made, key) for made in glued(notebook)), (
            f"{path.name}: {key!r} is not glued in {notebook.name}"
        )


@pytest.mark.parametrize("path", PAGES + NOTEBOOKS, ids=lambda path: path.name)
def test_figures_have_caption_and_alt(path):
    for options in FIGURE.findall(markdown(path)):
        assert re.search(r":alt: *\S.{39,}", options), f"{path.name}: figure without alt: {options}"
    if path.suffix == ".ipynb":
        for cell in jupytext.read(path).cells:
            meta = cell.metadata.get("mystnb", {})
            if "figure" in meta or "image" in meta:
                where = f"{path.name}: {meta}"
                assert len(meta["figure"]["caption"]) > 20, where
                assert meta["figure"]["name"], where
                assert len(meta["image"]["alt"]) >= 40, where


@pytest.mark.parametrize("path", PAGES + NOTEBOOKS, ids=lambda path: path.name)
def test_links_and_citations_resolve(path):
    text = markdown(path)
    bibliography = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    keys = re.findall(r"^@\w+\{([^,]+),", bibliography, flags=re.M)
    for cited in CITE.findall(text):
        for key in cited.split(","):
            assert key.strip() in keys, f"{path.name}: {key} is not in references.bib"
    for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
        made = re.search(r"_static/(headline\.\w+|results\.csv)$", target)  # by chapter 06
        if not made and not re.match(r"https?://|mailto:", target):
            assert (path.parent / target).exists(), f"{path.name}: link to missing {target}"


def test_the_site_asks_no_other_host():
    """MathJax comes from the book's own folder."""
    config = read_yaml(ROOT / "_config.yml")["sphinx"]["config"]
    script = ROOT / config["html_static_path"][0] / config["mathjax_path"]
    assert script.is_file()
    assert script.stat().st_size > 1_000_000


def test_readme_quotes_the_reference_study():
    """The README cannot glue: its numbers are compared with results/reference instead."""
    table = json.loads((ROOT / "results/reference/06_results.json").read_text(encoding="utf-8"))
    (row,) = [r for r in table["rows"] if (r["suite"], r["cut"]) == ("Lite", "none")]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for key in ("r2", "baseline"):
        for entry in row[key].values():
            assert "{value:.2f} [{low:.2f}, {high:.2f}]".format(**entry) in readme
    assert f"{table['n_test_simulations']} test simulations" in readme
    trained = f"{table['n_runs']} networks trained on {table['n_train_simulations']} simulations"
    assert trained in readme


# --------------------------------------------------------------------------------------------------
# Staging: the table of the bench
# --------------------------------------------------------------------------------------------------
def camels_rows(**peaks):
    """A table of the bench with a peak [MB above the base] for each stage."""
    made = {"utc": "2026-01-02T03:04:05+00:00", "git": {"commit": "a" * 40, "dirty": False}}
    row = {"maps": 15000, "seconds": 1.25, "base_mb": 200.0}
    return {
        "size": [1000, 256],
        "file_bytes": 4_000_000_000,
        "hardware": {"cpu": "a processor", "cores": 3, "memory_gb": 24.7, "gpu": None},
        "provenance": made,
        "rows": [{"stage": s, "what": f"Do {s}.", "above_base_mb": p, **row}
                 for s, p in peaks.items()],
    }  # fmt: skip


@pytest.fixture
def staged(tmp_path, monkeypatch):
    """Stage the book with a table of the bench, or with None."""

    def run(table):
        (tmp_path / "build" / "notebooks").mkdir(parents=True)
        bench = tmp_path / "camels.json"
        if table is not None:
            bench.write_text(json.dumps(table))
        monkeypatch.setattr(tables, "BENCHMARKS", tmp_path)
        stage.collect(tmp_path / "build", ROOT / "book" / "_static" / "headline.png", "tiny")
        return tmp_path / "build" / "book" / "book"

    return run


def test_included_texts_are_made_by_the_staging(staged):
    pages = staged(None)
    used = 0
    for path in sorted(pages.glob("*.md")):
        for name in re.findall(r"\{include\} *(\S+)", path.read_text(encoding="utf-8")):
            assert (path.parent / name).is_file(), f"{path.name}: nothing makes {name}"
            used += 1
    assert used, "your-data.md includes the table of the bench"
    assert "Not measured" in (pages / "_tables" / "camels.md").read_text()
    assert (pages / "_tables" / "attribution.md").is_file()
    assert not (ROOT / "book" / "_tables").exists()  # made, not kept


def test_the_bench_table_says_what_was_measured(staged):
    peaks = {"chain": 4800.0, "chain_disk": 950.0, "train": 9900.0, "train_disk": 5500.0}
    text = (staged(camels_rows(**peaks)) / "_tables" / "camels.md").read_text()
    assert "15000 maps of 256 x 256 pixels, 4.00 GB" in text
    assert "3 cores of a processor with 25 GB, no GPU; 2026-01-02, commit aaaaaaaaaaaa." in text
    assert "| Do chain. | 15000 | 1.2 | 4800 | 1.20 |" in text
    assert "1.20 times the file with the maps in memory and 0.95 GB with `storage: disk`" in text
    assert "on top: 2.48 times the file, or 5.50 GB with `storage: disk`" in text
    assert "times the file" not in tables.camels(camels_rows(check=150.0))  # no chain was measured


def test_the_stored_bench_is_one_that_the_book_can_show():
    bench = json.loads((tables.BENCHMARKS / "camels.json").read_text(encoding="utf-8"))
    assert bench["size"] == [1000, 256]
    lines = tables.camels(bench).splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == 1 + len(bench["rows"])


def test_what_killed_runners_left_is_tidied(tmp_path):
    """Their working copies and locks; a lock that is held stays, and so does its copy."""
    from cosmolib.study.locks import held

    folder = tmp_path / "runs" / "Lite" / "band:[2,8]"
    folder.mkdir(parents=True)
    for name in (".a.lock", ".a-12345678.ipynb", "a.ipynb", ".b-12345678.ipynb"):
        (folder / name).write_text("")
    with held(folder / ".b.lock"):
        stage.tidy(tmp_path)
        names = sorted(path.name for path in folder.iterdir())
    assert names == [".b-12345678.ipynb", ".b.lock", "a.ipynb"]
