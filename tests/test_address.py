"""Test the book with and without an address, social card, citation, notebooks and CI."""

import ast
import copy
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import address
import jupytext
import matplotlib.pyplot as plt
import numpy as np
import pytest
import social_card
import stage
from check_site import Page, check
from conftest import NOTEBOOKS, ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cosmolib.study.io import read_yaml

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
URL = "https://github.com/Alice/fork"
BASE = "https://alice.github.io/fork/"


# --------------------------------------------------------------------------------------------------
# The address
# --------------------------------------------------------------------------------------------------
def test_no_file_contains_an_address_of_this_project():
    """The owner sets the address; other projects may be linked."""
    assert read_yaml(ROOT / "_config.yml")["repository"]["url"] == ""
    folders = (".ci", ".github", "book", "configs", "cosmolib", "notebooks", "tests",
               "workflow", "results", "benchmarks")  # fmt: skip
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    ours = "(?:cosmolib|cosmic-web-interpretability)"
    wrong = rf"{ours}[.]github[.]io|github[.]com/[\w-]+/{ours}|pip install [-e '\"]*{ours}"
    for path in filter(Path.is_file, (*ROOT.glob("*"), *paths)):
        assert not re.search(wrong, path.read_bytes().decode(errors="replace")), path


def test_setting_an_address_changes_one_line(tmp_path, monkeypatch, capsys):
    config = Path(shutil.copy2(ROOT / "_config.yml", tmp_path))
    before = config.read_text()
    address.set_address(f"{URL}.git", config)
    assert config.read_text() == before.replace('  url: ""\n', f'  url: "{URL}"\n')
    address.set_address("", config)
    assert config.read_text() == before
    assert address.site("https://github.com/Alice/Alice.github.io") == "https://alice.github.io/"
    monkeypatch.setattr(address.set_address, "__defaults__", (config,))
    for wrong in ("git@github.com:a/b", "https://x.org/a/b", 'https://github.com/a/b"'):
        assert address.main([wrong]) == 2
        assert "is not https://github.com/OWNER/NAME" in capsys.readouterr().err
    assert config.read_text() == before


# --------------------------------------------------------------------------------------------------
# The built pages, without and with an address
# --------------------------------------------------------------------------------------------------
PAGE = """# A page

Read off $\\Omega_m$ and $\\sigma_8$, {cite}`Lahiry2025`, and *more*.

Clone this repository{{ address }} now.
"""
CHAPTER = """# %% [markdown]
# # A chapter
#
# :::{admonition} Overview
# - The first point, "quoted".
# - Another.
# :::

# %% tags=["parameters"]
profile = "demo"  # a profile
"""
NAMES = ["book/index", "notebooks/01_data", "book/references"]


@pytest.fixture(scope="module", params=["", URL], ids=["plain", "site"])
def site(tmp_path_factory, request):
    """Build a book of three pages; return its address and the folder of its site."""
    folder = tmp_path_factory.mktemp("site")
    book = folder / "book"
    shutil.copytree(ROOT / "book" / "_ext", book / "book" / "_ext")
    (book / "book" / "_static").mkdir()
    for name in ("logo.svg", "book.css"):
        shutil.copy2(ROOT / "book" / "_static" / name, book / "book" / "_static" / name)
    shutil.copy2(ROOT / "book" / "references.bib", book / "book")
    config = copy.deepcopy(read_yaml(ROOT / "_config.yml"))
    config["repository"]["url"] = request.param
    (book / "_config.yml").write_text(address.staged_config(config), encoding="utf-8")
    toc = {"format": "jb-book", "root": NAMES[0], "chapters": [{"file": x} for x in NAMES[1:]]}
    (book / "_toc.yml").write_text(json.dumps(toc))
    (book / "book" / "index.md").write_text(PAGE)
    (book / "book" / "references.md").write_text("# References\n\n```{bibliography}\n```\n")
    (book / "notebooks").mkdir()
    chapter = jupytext.reads(CHAPTER, "py:percent")
    chapter.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    chapter.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    jupytext.write(chapter, book / "notebooks" / "01_data.ipynb")
    assert stage.build(folder, folder / "html") == 0
    return request.param, folder / "html"


def read(html, name):
    return (html / f"{name}.html").read_text(encoding="utf-8")


def test_links_to_the_repository(site):
    """They exist only if an address is set."""
    url, html = site
    text, page = read(html, "book/index"), read(html, "notebooks/01_data")
    if not url:
        assert not (html / "sitemap.xml").exists()
        assert "Clone this repository now." in text
        for name in NAMES:
            hosts = {urlsplit(link).netloc for link in Page(read(html, name)).links} - {""}
            assert hosts <= {"doi.org", "arxiv.org", "sphinx-book-theme.readthedocs.io"}, name
            for word in ("canonical", "og:url", "mybinder", "github", "launch", "edit-page"):
                assert f'"{word}' not in read(html, name).replace("btn-", ""), (name, word)
        return
    binder = "https://mybinder.org/v2/gh/Alice/fork/main?urlpath=lab/tree/notebooks/01_data.ipynb"
    for link in (binder, f"{URL}/issues/new", URL, "../_sources/notebooks/01_data.ipynb"):
        assert f'href="{link}' in page, link
    assert re.search(rf'Clone this repository \(<a [^>]*href="{URL}">', text)
    tree = ElementTree.parse(html / "sitemap.xml")
    found = {node.text for node in tree.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")}
    assert found == {f"{BASE}{page}.html" for page in NAMES}


def test_descriptions_for_search_engines_and_shared_links(site):
    url, html = site
    descriptions = ("Read off Ωm and σ8,, and more.", "The first point, “quoted”.",
                    "References. Where in the cosmic web is the cosmology?")  # fmt: skip
    for name, description in zip(NAMES, descriptions, strict=True):
        page = read(html, name)
        pairs = re.findall(r'<meta (?:name|property)="([^"]+)"\s+content="([^"]*)"', page)
        tags = dict(pairs)
        assert len([name for name, _ in pairs if name != "viewport"]) == len(tags) - 1
        assert tags["description"].removeprefix("2. ") == description
        if url:
            assert tags["og:url"] == f"{BASE}{name}.html"
            assert tags["og:image"] == f"{BASE}{address.CARD}"
            assert tags["og:description"] == tags["description"]
            assert tags["twitter:card"] == "summary_large_image"
            canonical = re.findall(r'<link rel="canonical" href="([^"]+)"', page)
            assert canonical == [f"{BASE}{name}.html"]


def test_no_page_fetches_from_another_host(site):
    faults, report = check(site[1])
    assert report["pages"] > len(NAMES)
    assert not [fault for fault in faults if "another host" in fault]


def test_the_entrance(site):
    entrance = read(site[1], "index")
    assert "<script" not in entrance
    assert Page(entrance).links == ["book/index.html"]


@pytest.mark.parametrize("site", [URL], indirect=True)
def test_a_book_with_a_missing_number_link_or_citation_is_not_built(site, tmp_path, capsys):
    """Sphinx checks all pages of the tiny book; the build must not ignore its warnings."""
    shutil.copytree(site[1].parent / "book", tmp_path / "book")
    missing = "{glue:text}`../notebooks/01_data.ipynb::gone:d` [x](gone.md) {cite}`Gone2025`"
    (tmp_path / "book" / "book" / "index.md").write_text(f"# A page\n\n{missing}\n")
    assert stage.build(tmp_path, tmp_path / "html") == 1
    assert not (tmp_path / "html").exists()
    told = capsys.readouterr().err
    for reason in ("Glue.*gone", "gone.md", "Gone2025"):
        assert re.search(f"index.md.*WARNING: .*{reason}", told), told


def test_a_published_notebook_contains_no_local_path():
    stream = [{"output_type": "stream", "name": name, "text": [f"/home/{name}"]}
              for name in ("stdout", "stderr")]  # fmt: skip
    cells = [{"cell_type": "code", "source": [], "metadata": {}, "outputs": stream},
             {"cell_type": "markdown", "source": ["Σ"], "metadata": {}}]  # fmt: skip
    made = {"papermill": {"input_path": "/home/me"}, "kernelspec": {"name": "python3"}}
    notebook = json.loads(json.dumps({"cells": cells, "metadata": made}))
    stage.remove_local_paths(notebook)
    assert notebook["metadata"] == {"kernelspec": {"name": "python3"}}
    assert notebook["cells"][0]["outputs"] == stream[:1]
    assert notebook["cells"][1] == cells[1]


# --------------------------------------------------------------------------------------------------
# The social card and the citation
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [(888, 1463), (900, 300)])
@pytest.mark.usefixtures("canvas")  # the book's style must not change the card
def test_the_card_shows_all_of_the_figure(tmp_path, size, monkeypatch):
    """The red frame of a wide or high figure is visible on all four sides."""
    figure = np.ones((*size, 3))
    figure[:6] = figure[-6:] = (1, 0, 0)
    figure[:, :6] = figure[:, -6:] = (1, 0, 0)
    plt.imsave(tmp_path / "figure.png", figure)
    card = tmp_path / "card.png"
    social_card.draw(tmp_path / "figure.png", "Where in the web?", stage.SUBTITLE, card)
    pixels = plt.imread(card)[..., :3]
    assert pixels.shape == (630, 1200, 3)
    red = (pixels[..., 0] > 0.7) & (pixels[..., 1] < 0.5)
    height, width = (np.ptp(np.flatnonzero(red.any(axis))) + 1 for axis in (1, 0))
    assert height / width == pytest.approx(size[0] / size[1], rel=0.02)
    dark = pixels.max(2) < 0.3
    assert dark[:, :310].any()
    assert not dark[:, 320:].any(), "the text reaches into the figure"
    card.unlink()
    monkeypatch.setattr(social_card, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match=r"card.png has \d+ bytes; at most 100"):
        social_card.draw(tmp_path / "figure.png", "a", "b", card)
    assert not card.exists()


def test_citation_is_valid_cff():
    """The fields follow CFF 1.2.0."""
    citation = read_yaml(ROOT / "CITATION.cff")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = "cff-version message type title license abstract keywords authors references"
    assert set(citation) <= set(allowed.split())
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert citation["license"] == project["license"]
    assert citation["keywords"] == project["keywords"]
    for author in (a for one in [citation, *citation["references"]] for a in one["authors"]):
        assert set(author) in ({"name"}, {"family-names", "given-names"})
    for one in citation["references"]:
        assert (one["type"], type(one["year"])) == ("article", int)


# --------------------------------------------------------------------------------------------------
# The notebooks
# --------------------------------------------------------------------------------------------------
def code_of(path):
    """Return the code cells of a notebook."""
    return [cell for cell in jupytext.read(path).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_notebook_fetches_or_installs_anything(path):
    """Required packages suffice for all top-level imports, and no code uses the network."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["book"]
    there = {canonicalize_name(Requirement(line).name) for line in lines}
    there |= {"ipython", "cosmolib", "book"}
    names = {"sklearn": "scikit-learn"}
    for cell in code_of(path):
        assert not re.search(r"^\s*[!%]", cell.source, flags=re.M)
        tree = ast.parse(cell.source)
        for node in ast.walk(tree):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) else []
            for module in (module.split(".")[0] for module in modules):
                assert module not in ("subprocess", "urllib", "requests", "pip")
                if node in tree.body and module not in sys.stdlib_module_names:
                    assert canonicalize_name(names.get(module, module)) in there, module
            assert getattr(node, "attr", "") not in ("system", "popen")


@pytest.mark.parametrize("folder", ["notebooks", "."])
def test_a_notebook_of_the_repository_works_in_its_root(folder):
    """JupyterLab starts a kernel in notebooks/, papermill in the root."""
    first = {code_of(path)[0].source for path in NOTEBOOKS}
    assert len(first) == 1
    code = f"{first.pop()}\nprint(os.getcwd())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / folder, capture_output=True)
    assert done.stdout.decode().splitlines() == [str(ROOT)]


# --------------------------------------------------------------------------------------------------
# The workflows
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_ci_workflows(path):
    """Scripts and targets exist, and jobs with write access do not check out the repository."""
    makefile = (ROOT / "Makefile").read_text()
    jobs = read_yaml(path)["jobs"].values()
    steps = [step for job in jobs for step in job["steps"]]
    for job in jobs:
        if "write" in job.get("permissions", {}).values():
            assert not any("checkout" in step.get("uses", "") for step in job["steps"])
    for run in (step["run"] for step in steps if "run" in step):
        subprocess.run(["bash", "-n"], input=run, text=True, check=True)
        for script in re.findall(r"python3? (\S+\.py)", run) + re.findall(r"^\.ci/\S+", run):
            assert (ROOT / script).is_file(), script
        for target in re.findall(r"\bmake ([a-z-]+)", run):
            assert re.search(rf"^{target}:", makefile, flags=re.M), target
        assert "${{" not in run, "text from outside would become part of the script"
    assert "secrets." not in path.read_text()
