"""The book's sources: pages are listed, figures have an alt text; tables made by the staging."""

import json
import re

import jupytext
import pytest
import stage
import tables
from conftest import NOTEBOOKS, PAGES, ROOT

from cosmolib.study.io import read_yaml

FIGURE = re.compile(r"(?:```|:::)\{(?:figure|image)\}[^\n]*\n((?::[^\n]*\n)*)")


def markdown(path):
    """Prose of a page or of a notebook's markdown cells."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = jupytext.read(path).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_the_contents_list_every_page_once():
    toc = read_yaml(ROOT / "_toc.yml")
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    listed = [page for chapter in chapters for page in (chapter, *chapter.get("sections", ()))]
    pages = [path.relative_to(ROOT).with_suffix("").as_posix() for path in PAGES + NOTEBOOKS]
    assert sorted([toc["root"], *(page["file"] for page in listed)]) == sorted(pages)


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
# Staging
# --------------------------------------------------------------------------------------------------
def test_included_texts_are_made_by_the_staging(tmp_path):
    (tmp_path / "notebooks").mkdir(parents=True)
    stage.collect(tmp_path, ROOT / "book" / "_static" / "headline.png", "tiny")
    used = 0
    for path in sorted((tmp_path / "book" / "book").glob("*.md")):
        for name in re.findall(r"\{include\} *(\S+)", path.read_text(encoding="utf-8")):
            assert (path.parent / name).is_file(), f"{path.name}: nothing makes {name}"
            used += 1
    assert used, "your-data.md includes the table of the bench"
    assert not (ROOT / "book" / "_tables").exists()  # made, not kept


def test_the_bench_table_says_what_was_measured():
    bench = json.loads((tables.BENCHMARKS / "camels.json").read_text(encoding="utf-8"))
    text, size, rows = tables.camels(bench), bench["file_bytes"], bench["rows"]
    assert f"15000 maps of 256 x 256 pixels, {size / 1e9:.2f} GB" in text
    made = rows[2].get("provenance", bench.get("provenance"))
    assert made["git"]["commit"][:12] in text
    assert len(re.findall(r"(?m)^\| ", text)) == 1 + len(rows)
    peak = {row["stage"]: row["above_base_mb"] * 1e6 for row in rows}
    seen = "| 15000 | {seconds:.1f} | {above_base_mb:.0f} |".format(**rows[2])
    assert f"{seen} {peak['cut'] / size:.2f} |" in text
    chain, disk = peak["chain"] / size, peak["chain_disk"] / 1e9
    assert f"{chain:.2f} times the file with the maps in memory and {disk:.2f} GB with `st" in text
    train, disk = peak["train"] / size, peak["train_disk"] / 1e9
    assert f"on top: {train:.2f} times the file, or {disk:.2f} GB with `storage: disk`" in text
    assert "times the file" not in tables.camels(bench | {"rows": rows[:3]})  # without a chain


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
