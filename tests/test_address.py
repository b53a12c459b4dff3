"""The repository's address: nowhere as shipped, everywhere once it is set; the pages of a book."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import jupytext
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workflow"))
import address  # noqa: E402
import social_card  # noqa: E402
import stage  # noqa: E402
from check_site import Page  # noqa: E402

from cosmolib.study.io import read_yaml  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
URL = "https://github.com/Alice/fork"
BASE = "https://alice.github.io/fork/"


@pytest.fixture
def config(tmp_path):
    """A copy of _config.yml."""
    return Path(shutil.copy2(ROOT / "_config.yml", tmp_path))


# --------------------------------------------------------------------------------------------------
# The address
# --------------------------------------------------------------------------------------------------
def test_no_address_is_shipped():
    assert read_yaml(ROOT / "_config.yml")["repository"]["url"] == ""


def test_no_file_names_a_repository_of_this_project():
    """Other projects' repositories may be named, ours has no address until its owner sets one."""
    folders = (".ci", ".github", "book", "configs", "cosmolib", "notebooks", "tests",
               "workflow", "results", "benchmarks")  # fmt: skip
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    paths = [path for path in (*ROOT.glob("*"), *paths) if path.is_file()]
    assert len(paths) > 100
    ours = "(?:cosmolib|cosmic-web-interpretability)"
    wrong = rf"{ours}[.]github[.]io|github[.]com/[\w-]+/{ours}|pip install [-e '\"]*{ours}"
    for path in paths:
        assert not re.search(wrong, path.read_bytes().decode(errors="replace")), path


def test_setting_and_removing_it_changes_one_line(config):
    before = config.read_text()
    for given in (URL, URL + "/", URL + ".git"):
        address.set_address(given, config)
        assert config.read_text() == before.replace('  url: ""\n', f'  url: "{URL}"\n')
    address.set_address("", config)
    assert config.read_text() == before


@pytest.mark.parametrize(
    ("url", "site"),
    [
        (URL, BASE),
        ("https://github.com/Alice/Alice.github.io", "https://alice.github.io/"),
        ("https://github.com/a-b/c.d_e", "https://a-b.github.io/c.d_e/"),
    ],
)
def test_where_the_book_is_published(url, site):
    assert address.site(url) == site


@pytest.mark.parametrize(
    "url",
    ["git@github.com:a/b", "http://github.com/a/b", "https://github.com/a", "https://x.org/a/b",
     "https://github.com/a/b/c", 'https://github.com/a/b"', "https://github.com/a/b\nc"],
)  # fmt: skip
def test_what_is_no_address_is_one_line_and_changes_nothing(config, monkeypatch, capsys, url):
    before = config.read_text()
    monkeypatch.setattr(address.set_address, "__defaults__", (config,))
    assert address.main([url]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: repository address: found ")
    assert line.endswith("expected https://github.com/OWNER/NAME")
    assert config.read_text() == before


def test_a_configuration_without_a_place_for_it_is_refused(config):
    config.write_text("title: x\n")
    with pytest.raises(ValueError, match="found no line `url:` below `repository:`"):
        address.set_address(URL, config)


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
#
# **What you need.** Nothing.

# %% tags=["remove-cell"]
hidden = 1

# %% tags=["parameters"]
profile = "demo"  # a profile
"""
NAMES = ["book/index", "notebooks/01_data", "book/references"]


def build(folder, config):
    """Build a book of three pages with a configuration; return the folder of the site."""
    book = folder / "book"
    shutil.copytree(ROOT / "book" / "_ext", book / "book" / "_ext")
    (book / "book" / "_static").mkdir()
    for name in ("logo.svg", "book.css"):
        shutil.copy2(ROOT / "book" / "_static" / name, book / "book" / "_static" / name)
    shutil.copy2(ROOT / "book" / "references.bib", book / "book")
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
    stage.build(folder, folder / "html")
    return folder / "html"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The book as shipped."""
    text = (ROOT / "_config.yml").read_text(encoding="utf-8")
    return build(tmp_path_factory.mktemp("plain"), text)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The book of a repository with an address."""
    folder = tmp_path_factory.mktemp("site")
    config = Path(shutil.copy2(ROOT / "_config.yml", folder))
    address.set_address(URL, config)
    return build(folder, config.read_text(encoding="utf-8"))


def meta(page):
    """{name: content} of a page's meta tags, each of which must stand once."""
    found = re.findall(r'<meta (?:name|property)="([^"]+)"\s+content="([^"]*)"', page)
    names = [name for name, _ in found if name != "viewport"]
    assert len(set(names)) == len(names)
    return dict(found)


def test_without_an_address_no_page_leads_to_a_repository(plain):
    assert not (plain / "sitemap.xml").exists()
    for name in NAMES:
        page = (plain / f"{name}.html").read_text(encoding="utf-8")
        hosts = {urlsplit(link).netloc for link in Page(page).links} - {""}
        assert hosts <= {"doi.org", "arxiv.org", "sphinx-book-theme.readthedocs.io"}, name
        for word in ("canonical", "og:url", "mybinder", "github", "launch", "edit-page"):
            assert f'"{word}' not in page.replace("btn-", ""), (name, word)
    text = (plain / "book" / "index.html").read_text(encoding="utf-8")
    assert "Clone this repository now." in text


def test_with_an_address_the_buttons_lead_there(site):
    page = (site / "notebooks" / "01_data.html").read_text(encoding="utf-8")
    for link in (
        "https://mybinder.org/v2/gh/Alice/fork/main?urlpath=lab/tree/notebooks/01_data.ipynb",
        f"{URL}/issues/new",
        URL,
        "../_sources/notebooks/01_data.ipynb",
    ):
        assert f'href="{link}' in page, link
    assert "colab" not in page
    assert (site / "_sources" / "notebooks" / "01_data.ipynb").is_file()
    text = (site / "book" / "index.html").read_text(encoding="utf-8")
    assert re.search(rf'Clone this repository \(<a [^>]*href="{URL}">', text)


def test_the_book_hides_a_cell_that_is_removed(site):
    page = (site / "notebooks" / "01_data.html").read_text(encoding="utf-8")
    assert "profile" in page
    assert "hidden" not in page.split("<article", 1)[1].split("</article")[0].replace("hidden=", "")


@pytest.mark.parametrize(
    ("name", "title", "description"),
    [
        ("book/index", "A page", "Read off Ωm and σ8,, and more."),
        ("notebooks/01_data", "1. A chapter", "The first point, “quoted”."),
        ("book/references", "2. References", "2. References. Where in the cosmic web is the "
                                            "cosmology?"),
    ],
)  # fmt: skip
def test_every_page_says_what_it_is(plain, site, name, title, description):
    page = (site / f"{name}.html").read_text(encoding="utf-8")
    tags = meta(page)
    assert tags["og:title"].endswith(title.split(". ")[-1])
    assert tags["og:url"] == f"{BASE}{name}.html"
    assert tags["og:image"] == f"{BASE}{address.CARD}"
    assert tags["twitter:card"] == "summary_large_image"
    assert tags["description"] == tags["og:description"]
    assert tags["description"].removeprefix("2. ") == description.removeprefix("2. ")
    assert re.findall(r'<link rel="canonical" href="([^"]+)"', page) == [f"{BASE}{name}.html"]
    alone = meta((plain / f"{name}.html").read_text(encoding="utf-8"))
    assert alone["description"] == tags["description"]


def test_no_page_asks_another_host(plain, site):
    """Links lead away; nothing is loaded from elsewhere."""
    for path in [*plain.rglob("*.html"), *site.rglob("*.html")]:
        page = path.read_text(encoding="utf-8")
        assert not re.findall(r'\bsrc="(?:https?:)?//[^"]*"', page), path
        for link in re.findall(r"<link [^>]*>", page):
            assert 'rel="canonical"' in link or not re.search(r'href="(https?:)?//', link), link


def test_the_sitemap_lists_the_pages(site):
    tree = ElementTree.parse(site / "sitemap.xml")
    found = {node.text for node in tree.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")}
    assert found == {f"{BASE}{page}.html" for page in NAMES}


def test_the_entrance_leads_on_without_a_script(plain):
    page = (plain / "index.html").read_text(encoding="utf-8")
    assert '<html lang="en">' in page
    assert "<script" not in page
    assert 'content="0; url=book/index.html"' in page
    assert Page(page).links == ["book/index.html"]


def test_a_published_notebook_does_not_name_the_machine():
    stream = [{"output_type": "stream", "name": name, "text": [f"/home/{name}"]}
              for name in ("stdout", "stderr")]  # fmt: skip
    cells = [{"cell_type": "code", "source": [], "metadata": {}, "outputs": stream},
             {"cell_type": "markdown", "source": ["Σ"], "metadata": {}}]  # fmt: skip
    made = {"papermill": {"input_path": "/home/me"}, "kernelspec": {"name": "python3"}}
    notebook = json.loads(json.dumps({"cells": cells, "metadata": made}))
    stage.forget_paths(notebook)
    assert notebook["metadata"] == {"kernelspec": {"name": "python3"}}
    assert notebook["cells"][0]["outputs"] == stream[:1]
    assert notebook["cells"][1] == cells[1]


# --------------------------------------------------------------------------------------------------
# The social card
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [(888, 1463), (348, 1463), (900, 300)])
def test_the_card_has_its_size_and_shows_all_of_the_figure(tmp_path, size):
    """Figures of any shape: the red frame at its edge must be there on all four sides."""
    import matplotlib.pyplot as plt

    figure = np.ones((*size, 3))
    figure[:6] = figure[-6:] = (1, 0, 0)
    figure[:, :6] = figure[:, -6:] = (1, 0, 0)
    plt.imsave(tmp_path / "figure.png", figure)
    card = tmp_path / "card.png"
    social_card.draw(tmp_path / "figure.png", "Where in the web?", "R² of two", card)
    pixels = plt.imread(card)[..., :3]
    assert pixels.shape == (630, 1200, 3)
    assert card.stat().st_size < social_card.MOST_BYTES
    red = (pixels[..., 0] > 0.7) & (pixels[..., 1] < 0.5)
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert height / width == pytest.approx(size[0] / size[1], rel=0.02)
    assert max(height / 558, width / (1200 - 310 - 54)) == pytest.approx(1, abs=0.01)
    dark = pixels.max(2) < 0.3
    assert dark[:, :310].any()
    assert not dark[:, 320:].any(), "the words reach into the figure"
    assert (pixels[[0, -1]] == 1).all()
    assert (pixels[:, [0, -1]] == 1).all()


@pytest.mark.usefixtures("canvas")  # the book's style must not reach it
def test_the_real_card_has_its_size_in_any_style(tmp_path):
    import matplotlib.pyplot as plt

    card = tmp_path / "card.png"
    title = address.title((ROOT / "_config.yml").read_text(encoding="utf-8"))
    social_card.draw(ROOT / "book" / "_static" / "headline.png", title, stage.SUBTITLE, card)
    assert plt.imread(card).shape[:2] == (630, 1200)
    assert 20_000 < card.stat().st_size < social_card.MOST_BYTES


def test_a_card_of_no_picture_or_too_large_a_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "figure.png").write_text("no picture")
    with pytest.raises(ValueError, match="figure.png: found no picture"):
        social_card.draw(tmp_path / "figure.png", "a", "b", tmp_path / "card.png")
    monkeypatch.setattr(social_card, "MOST_BYTES", 100)
    headline = ROOT / "book" / "_static" / "headline.png"
    with pytest.raises(ValueError, match=r"card.png: found \d+ bytes, expected at most 100"):
        social_card.draw(headline, "a", "b", tmp_path / "card.png")
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


# --------------------------------------------------------------------------------------------------
# Citation
# --------------------------------------------------------------------------------------------------
def test_citation_is_valid_cff():
    """The rules of CFF 1.2.0 for the fields that are used here; unknown fields are not allowed."""
    citation = read_yaml(ROOT / "CITATION.cff")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(citation) <= {
        "cff-version", "message", "type", "title", "license", "abstract", "keywords", "authors",
        "references",
    }  # fmt: skip
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["license"] == project["license"]
    assert citation["keywords"] == project["keywords"]
    for key in ("message", "title", "abstract"):
        assert len(citation[key]) > 40, key
    references = citation["references"]
    assert {one["type"] for one in references} == {"article"}
    for one in [citation, *references]:
        assert one["title"]
        for author in one["authors"]:
            assert set(author) in ({"name"}, {"family-names", "given-names"})
            assert all(isinstance(value, str) for value in author.values())
    for one in references:
        assert isinstance(one["year"], int)
        assert re.fullmatch(r"10\.\d{4,9}/\S+", one.get("doi", "10.1234/x"))
        for item in one["identifiers"]:
            assert item["type"] in ("doi", "url", "swh", "other")
            assert set(item) <= {"type", "value", "description"}


# --------------------------------------------------------------------------------------------------
# The notebooks
# --------------------------------------------------------------------------------------------------
def code_of(path):
    """The code cells of a notebook."""
    return [c for c in jupytext.read(path).cells if c.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_notebook_fetches_or_installs_anything(path):
    for cell in code_of(path):
        assert not re.search(r"^\s*[!%]", cell.source, flags=re.M)
        for node in ast.walk(ast.parse(cell.source)):
            names = [alias.name for alias in getattr(node, "names", [])]
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            forbidden = {"subprocess", "urllib", "requests", "pip"}
            assert not forbidden & {name.split(".")[0] for name in names if name}
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("system", "popen")


@pytest.mark.parametrize("folder", ["notebooks", "."])
def test_a_notebook_of_the_repository_works_in_its_root(folder):
    """JupyterLab starts a kernel next to the notebook, papermill and the workflow in the root."""
    first = {code_of(path)[0].source for path in NOTEBOOKS}
    assert len(first) == 1
    code = f"{first.pop()}\nprint(os.getcwd())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / folder, capture_output=True)
    assert done.stdout.decode().splitlines() == [str(ROOT)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_reader_has_every_package_that_a_chapter_imports(path):
    """At the top of a cell; what a chapter looks for first it can do without."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["chapters"]
    there = {canonicalize_name(Requirement(line).name) for line in lines} | {"ipython"}
    names = {"sklearn": "scikit-learn", "yaml": "pyyaml"}
    for node in ast.parse("\n".join(cell.source for cell in code_of(path))).body:
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module]
        for module in (module.split(".")[0] for module in modules):
            if module not in sys.stdlib_module_names and module != "cosmolib":
                assert canonicalize_name(names.get(module, module)) in there, module


# --------------------------------------------------------------------------------------------------
# The workflows
# --------------------------------------------------------------------------------------------------
def steps(path, key):
    """The values of `key` in all steps of a workflow."""
    jobs = read_yaml(path)["jobs"].values()
    return [step[key] for job in jobs for step in job["steps"] if key in step]


def test_the_pages_workflow():
    """It publishes the default branch and archives a tag; no job that may write runs our code."""
    pages = read_yaml(ROOT / ".github" / "workflows" / "pages.yml")
    assert pages["on"]["push"] == {"branches": ["main"], "tags": ["v*"]}
    assert pages["permissions"] == {}
    build, published, release = pages["jobs"].values()
    assert build["permissions"] == {"contents": "read"}
    assert published["permissions"] == {"pages": "write", "id-token": "write"}
    assert release["permissions"] == {"contents": "write"}
    assert published["if"] == "github.ref_name == github.event.repository.default_branch"
    assert release["if"] == "github.ref_type == 'tag'"
    runs = [step["run"] for step in build["steps"] if "run" in step]
    order = ["make install", "make book", "workflow/check_site.py _build/html", "tar "]
    where = [next(i for i, run in enumerate(runs) if name in run) for name in order]
    assert where == sorted(where)
    for job in (published, release):
        assert job["needs"] == "build"
        assert not any("checkout" in step.get("uses", "") for step in job["steps"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_a_workflow_runs_exists(path):
    makefile = (ROOT / "Makefile").read_text()
    for run in steps(path, "run"):
        subprocess.run(["bash", "-n"], input=run, text=True, check=True)
        for script in re.findall(r"python3? (\S+\.py)", run) + re.findall(r"^\.ci/\S+", run):
            assert (ROOT / script).is_file(), script
        for target in re.findall(r"\bmake ([a-z-]+)", run):
            assert re.search(rf"^{target}:", makefile, flags=re.M), target
        assert "${{" not in run, "an expression in a script can be made to run what it holds"
    for name in steps(path, "uses"):
        assert re.fullmatch(r"actions/[\w-]+@v\d+", name), name
    text = path.read_text()
    assert "secrets." not in text
    assert "timeout-minutes" in text
    assert "concurrency" in text
