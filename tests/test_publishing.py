"""Publishing: one address, buttons that lead somewhere, first cells, versions side by side."""

import ast
import importlib.metadata
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import jupytext
import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workflow"))
import address  # noqa: E402
import publish  # noqa: E402
import release  # noqa: E402
import social_card  # noqa: E402
import stage  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "Alice/fork"}


def actions(kind, name):
    """The environment of a build by GitHub Actions of a fork, on a branch or a tag."""
    return {**ACTIONS, "GITHUB_REF": f"refs/{kind}/{name}", "GITHUB_REF_NAME": name}


# --------------------------------------------------------------------------------------------------
# The address
# --------------------------------------------------------------------------------------------------
def test_the_committed_address_holds_where_nothing_else_is_said():
    here = address.address({})
    assert (here.url, here.ref) == address.committed()
    assert here.version == "latest"
    assert here.canonical == here.site + "latest/"


@pytest.mark.parametrize(
    ("environ", "ref", "version", "canonical"),
    [
        (actions("heads", "main"), "main", "latest", "https://alice.github.io/fork/latest/"),
        (actions("tags", "v1.2.10"), "v1.2.10", "v1.2.10", "https://alice.github.io/fork/stable/"),
        # Nobody can open the merge of a pull request: the committed branch stays.
        (
            actions("pull", "12/merge"),
            address.committed()[1],
            "latest",
            "https://alice.github.io/fork/latest/",
        ),
        (
            {**actions("heads", "x/y"), "GITHUB_REPOSITORY": "Alice/Alice.github.io"},
            "x/y",
            "latest",
            "https://alice.github.io/latest/",
        ),
    ],
)
def test_a_build_on_github_says_its_own(environ, ref, version, canonical):
    here = address.address(environ)
    assert here.url == f"https://github.com/{environ['GITHUB_REPOSITORY']}"
    assert (here.ref, here.version, here.canonical) == (ref, version, canonical)


@pytest.mark.parametrize("tag", ["v1", "v1.2", "v1.2.3rc1", "1.2.3", "v01.2.3", "latest"])
def test_a_tag_that_is_no_release_is_refused(tag):
    with pytest.raises(ValueError, match=rf"tag: found '{tag}', expected vX.Y.Z"):
        address.address(actions("tags", tag))


def test_an_address_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="GITHUB_REPOSITORY: found"):
        address.address({**ACTIONS, "GITHUB_REPOSITORY": "a/b/c"})
    config = tmp_path / "_config.yml"
    for text in ("title: x", "repository: {url: 'git@x:y', branch: b}", "repository: {url: 3}"):
        config.write_text(text)
        with pytest.raises(ValueError, match="expected url: https://HOST/OWNER/NAME"):
            address.committed(config)
    config.write_text("repository: {url: 'https://github.com/a/b'}")
    with pytest.raises(ValueError, match="expected branch"):
        address.committed(config)


def test_every_file_names_the_same_address():
    url, _ = address.committed()
    site = address.address({}).site
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    assert urls == {"Repository": url, "Documentation": site}
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["repository-code"], citation["url"]) == (url, site)
    for name in ("README.md", "book/reproduce.md"):
        clones = re.findall(r"git clone .*?(\S+)$", (ROOT / name).read_text(), flags=re.M)
        assert clones == [url], name
    assert f"]({site})" in (ROOT / "README.md").read_text()


# --------------------------------------------------------------------------------------------------
# Citation
# --------------------------------------------------------------------------------------------------
def test_citation_is_valid_cff():
    """The rules of CFF 1.2.0 for the fields that are used here; unknown fields are not allowed."""
    text = (ROOT / "CITATION.cff").read_text()
    citation = yaml.safe_load(text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(citation) <= {
        "cff-version", "message", "type", "title", "version", "date-released", "license",
        "repository-code", "url", "abstract", "keywords", "authors", "references",
    }  # fmt: skip
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["keywords"] == project["keywords"]
    assert re.search(r"^date-released: '?\d{4}-\d\d-\d\d'?$", text, flags=re.M)
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
# The first cell of the notebooks
# --------------------------------------------------------------------------------------------------
def first_cells():
    """The first code cell of every notebook: {name: cell}."""
    notebooks = {path.stem: jupytext.read(path).cells for path in NOTEBOOKS}
    return {
        name: next(cell for cell in cells if cell.cell_type == "code")
        for name, cells in notebooks.items()
    }


def test_all_notebooks_begin_with_the_same_hidden_cell():
    cells = first_cells()
    assert len(cells) == 7
    assert len({cell.source for cell in cells.values()}) == 1
    assert all(cell.metadata["tags"] == ["remove-cell"] for cell in cells.values())


def test_the_first_cell_names_the_committed_address():
    """And fetches the branch or tag that `workflow/release.py` wrote in both."""
    source = first_cells()["01_data"].source
    (pair,) = re.findall(r'home, branch = ("[^"]+", "[^"]+")', source)
    assert ast.literal_eval(pair) == address.committed()
    assert 'os.environ.get("COSMOLIB_REPOSITORY", home)' in source


def git(*arguments, cwd=None):
    """Run git with a name of its own and nobody's settings; return what it prints."""
    names = {"NAME": "test", "EMAIL": "test@example.org"}
    who = {f"GIT_{a}_{b}": names[b] for a in ("AUTHOR", "COMMITTER") for b in names}
    env = {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = ["git", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A git repository of one commit that holds this working tree."""
    folder = tmp_path_factory.mktemp("origin") / "repository.git"
    git("init", "--quiet", "--bare", f"--initial-branch={address.committed()[1]}", folder)
    tree = (f"--git-dir={folder}", f"--work-tree={ROOT}")
    git(*tree, "add", "--all", cwd=ROOT)
    git(*tree, "commit", "--quiet", "-m", "The tree under test", cwd=ROOT)
    return folder


@pytest.fixture
def stranger(tmp_path_factory):
    """A Python with all that is installed here but cosmolib; pip writes to a folder of its own."""
    folder = tmp_path_factory.mktemp("stranger")
    packages = folder / "packages"
    packages.mkdir()
    for place in filter(os.path.isdir, sys.path):
        if Path(place).name in ("site-packages", "dist-packages"):
            for path in Path(place).iterdir():
                if "cosmolib" not in path.name.lower() and path.suffix != ".pth":
                    if not (packages / path.name).exists():
                        (packages / path.name).symlink_to(path)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    env = {key: value for key, value in os.environ.items() if not key.startswith("COSMOLIB")}
    env |= {
        "PYTHONPATH": str(packages),  # instead of this repository
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it the wrong way round: no isolation
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "COSMOLIB_CACHE": str(folder / "cache"),
    }
    return folder / "venv" / "bin" / "python", env


ARRIVED = """
import cosmolib, json, os, sys
from cosmolib.suites import open_suite
print(json.dumps([os.getcwd(), cosmolib.__file__, list(open_suite("Lite").maps.shape)]))
"""


def test_a_notebook_alone_fetches_and_installs_its_repository(origin, stranger, tmp_path):
    """As on Colab, and again after its kernel was restarted, when nothing is to be fetched."""
    python, env = stranger
    (tmp_path / "cell.py").write_text(first_cells()["05_interpretation"].source + ARRIVED)
    clone = tmp_path / "cosmolib-clone"
    for url in (origin.as_uri(), "file:///nowhere"):
        done = subprocess.run(
            [python, "-P", tmp_path / "cell.py"],
            cwd=tmp_path,
            env={**env, "COSMOLIB_REPOSITORY": url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        where, package, shape = json.loads(done.stdout.splitlines()[-1])
        assert where == str(clone)
        assert Path(package).resolve() == clone / "cosmolib" / "__init__.py"
        assert shape == [15000, 64, 64]
    assert git("rev-list", "--count", "--all", cwd=clone) == "1"
    assert list(python.parent.parent.glob("lib/*/site-packages/__editable__*cosmolib*"))


def test_a_notebook_whose_repository_cannot_be_fetched_stops(stranger, tmp_path):
    python, env = stranger
    (tmp_path / "cell.py").write_text(first_cells()["01_data"].source)
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [python, "-I", tmp_path / "cell.py"],
        cwd=tmp_path / "empty",
        env={**env, "COSMOLIB_REPOSITORY": "file:///nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    assert "/nowhere" in done.stderr
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("folder", ["notebooks", "."])
def test_a_notebook_of_the_repository_works_in_its_root(folder):
    """JupyterLab starts a kernel beside the notebook, papermill and the workflow in the root."""
    code = first_cells()["01_data"].source + "\nprint(os.getcwd())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / folder,
        env={**os.environ, "COSMOLIB_REPOSITORY": "file:///nowhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [str(ROOT)]


# --------------------------------------------------------------------------------------------------
# Binder
# --------------------------------------------------------------------------------------------------
def test_binder_installs_what_a_reader_needs():
    """The base dependencies and the extra `chapters`, in the ranges of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = {canonicalize_name(r.name): r.specifier
              for r in map(Requirement, project["dependencies"] + extras["chapters"])}  # fmt: skip
    known = {canonicalize_name(r.name): r.specifier for r in map(Requirement, extras["dev"])}
    known |= needed
    entries = yaml.safe_load((ROOT / ".binder" / "environment.yml").read_text())
    assert entries["channels"] == ["conda-forge"]
    *conda, pip = entries["dependencies"]
    (python,) = [line for line in conda if line.startswith("python=")]
    version = python.removeprefix("python=")
    assert re.fullmatch(r"3\.\d+", version), python
    assert version in Requirement(f"x{project['requires-python']}").specifier
    lines = [line for line in conda + pip["pip"] if line not in ("pip", python)]
    found = {}
    for item in map(Requirement, lines):
        found[canonicalize_name({"pytorch-cpu": "torch"}.get(item.name, item.name))] = item
    assert set(needed) <= set(found)
    extra = {"ipykernel", "jupyterlab", "jupytext", "papermill"}
    assert set(found) - set(needed) == extra
    for name, item in found.items():
        if name != "jupyterlab":  # which nothing else here uses
            assert item.specifier == known[name], name
    assert pip["pip"] == [line for line in project["dependencies"] if line.startswith("Pylians")]
    assert "build-essential" in (ROOT / ".binder" / "apt.txt").read_text().split()  # for Pylians


def test_binders_post_build_runs():
    path = ROOT / ".binder" / "postBuild"
    text = path.read_text()
    assert path.stat().st_mode & stat.S_IXUSR
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text
    assert "--no-deps --editable ." in text
    subprocess.run(["bash", "-n", path], check=True)
    (look,) = re.findall(r"python -c '(.*)'", text)
    subprocess.run([sys.executable, "-W", "ignore", "-c", look], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_a_reader_has_every_package_that_a_chapter_imports(name):
    """At the top of a cell; what a chapter looks for first it can do without."""
    entries = yaml.safe_load((ROOT / ".binder" / "environment.yml").read_text())["dependencies"]
    lines = entries[:-1] + entries[-1]["pip"]
    there = {canonicalize_name(re.match(r"[\w.-]+", line).group()) for line in lines}
    names = {"sklearn": "scikit-learn", "torch": "pytorch-cpu", "yaml": "pyyaml",
             "IPython": "ipykernel"}  # fmt: skip
    code = "\n".join(c.source for c in jupytext.read(ROOT / "notebooks" / f"{name}.ipynb").cells
                     if c.cell_type == "code")  # fmt: skip
    for node in ast.parse(code).body:
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module]
        for module in (module.split(".")[0] for module in modules):
            if module not in sys.stdlib_module_names and module != "cosmolib":
                assert canonicalize_name(names.get(module, module)) in there, module


# --------------------------------------------------------------------------------------------------
# The built pages
# --------------------------------------------------------------------------------------------------
PAGE = """# A page

Read off $\\Omega_m$ and $\\sigma_8$, {cite}`Lahiry2025`, and *more*.
"""
CHAPTER = """# %% [markdown]
# # A chapter
#
# :::{{admonition}} Overview
# - The first point, "quoted".
# - Another.
# :::
#
# **What you need.** Nothing.

# %% tags=["remove-cell"]
{first}

# %% tags=["parameters"]
profile = "demo"  # a profile
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A book of three pages, built as by a fork's tag with the configuration of the real one."""
    build = tmp_path_factory.mktemp("build")
    book = build / "book"
    shutil.copytree(ROOT / "book" / "_ext", book / "book" / "_ext")
    (book / "book" / "_static").mkdir()
    for name in ("logo.svg", "book.css"):
        shutil.copy2(ROOT / "book" / "_static" / name, book / "book" / "_static" / name)
    shutil.copy2(ROOT / "book" / "references.bib", book / "book")
    here = address.address(actions("tags", "v1.2.3"))
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    (book / "_config.yml").write_text(address.staged_config(config, here), encoding="utf-8")
    chapters = ["notebooks/01_data", "book/references"]
    toc = {"format": "jb-book", "root": "book/index", "chapters": [{"file": x} for x in chapters]}
    (book / "_toc.yml").write_text(yaml.safe_dump(toc))
    (book / "book" / "index.md").write_text(PAGE)
    (book / "book" / "references.md").write_text("# References\n\n```{bibliography}\n```\n")
    (book / "notebooks").mkdir()
    text = CHAPTER.format(first=first_cells()["01_data"].source)
    chapter = jupytext.reads(text, "py:percent")
    chapter.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    chapter.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    jupytext.write(chapter, book / "notebooks" / "01_data.ipynb")
    stage.build(build, build / "html")
    return build / "html"


def meta(page):
    """{name: content} of a page's meta tags, each of which must stand once."""
    found = re.findall(r'<meta (?:name|property)="([^"]+)"\s+content="([^"]*)"', page)
    assert len({name for name, _ in found if name != "viewport"}) == len(
        [name for name, _ in found if name != "viewport"]
    )
    return dict(found)


def test_the_buttons_open_the_committed_notebook(site):
    page = (site / "notebooks" / "01_data.html").read_text(encoding="utf-8")
    targets = address.launch_targets(page)
    assert targets == ["notebooks/01_data.ipynb"] * 2
    assert all((ROOT / target).is_file() for target in targets)
    fork = "Alice/fork"
    for link in (
        f"https://mybinder.org/v2/gh/{fork}/v1.2.3?urlpath=lab/tree/notebooks/01_data.ipynb",
        f"https://colab.research.google.com/github/{fork}/blob/v1.2.3/notebooks/01_data.ipynb",
        f"https://github.com/{fork}/issues/new",
        f"https://github.com/{fork}",
        "../_sources/notebooks/01_data.ipynb",
    ):
        assert f'href="{link}' in page, link
    assert (site / "_sources" / "notebooks" / "01_data.ipynb").is_file()
    assert address.launch_targets((site / "book" / "index.html").read_text()) == []


def test_a_button_that_leads_elsewhere_is_seen():
    links = ["https://mybinder.org/v2/gh/a/b/main?urlpath=lab/tree/01.ipynb",
             "https://mybinder.org/v2/gh/a/b/main",
             "https://colab.research.google.com/github/a/b/blob/x%2Fy/n/0%201.ipynb",
             "https://colab.research.google.com/drive/1",
             "https://example.org/lab/tree/01.ipynb"]  # fmt: skip
    text = "".join(f'<a class="c" href="{link}">x</a>' for link in links)
    assert address.launch_targets(text) == ["01.ipynb", "", "n/0 1.ipynb", "/drive/1"]


def test_the_book_hides_the_first_cell(site):
    page = (site / "notebooks" / "01_data.html").read_text(encoding="utf-8")
    assert "profile" in page
    assert "COSMOLIB_REPOSITORY" not in page


@pytest.mark.parametrize(
    ("name", "title", "description"),
    [
        ("book/index", "A page", "Read off Ωm and σ8,, and more."),
        ("notebooks/01_data", "1. A chapter", "The first point, “quoted”."),
        ("book/references", "2. References", "2. References. Where in the cosmic web is the "
                                            "cosmology?"),
    ],
)  # fmt: skip
def test_every_page_says_what_it_is(site, name, title, description):
    page = (site / f"{name}.html").read_text(encoding="utf-8")
    tags = meta(page)
    base = "https://alice.github.io/fork/stable/"
    assert tags["og:title"].endswith(title.split(". ")[-1])
    assert tags["og:url"] == f"{base}{name}.html"
    assert tags["og:image"] == f"{base}{address.CARD}"
    assert tags["twitter:card"] == "summary_large_image"
    assert tags["description"] == tags["og:description"]
    assert tags["description"].removeprefix("2. ") == description.removeprefix("2. ")
    assert re.findall(r'<link rel="canonical" href="([^"]+)"', page) == [f"{base}{name}.html"]
    assert "Version <em>v1.2.3</em>" in page
    assert 'href="https://alice.github.io/fork/versions.html"' in page


def test_no_page_asks_another_host(site):
    """Links lead away; nothing is loaded from elsewhere."""
    for path in site.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        assert not re.findall(r'\bsrc="(?:https?:)?//[^"]*"', page), path
        for link in re.findall(r"<link [^>]*>", page):
            assert 'rel="canonical"' in link or not re.search(r'href="(https?:)?//', link), link


def test_the_sitemap_lists_the_pages(site):
    tree = ElementTree.parse(site / "sitemap.xml")
    found = {node.text for node in tree.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")}
    pages = ["book/index", "notebooks/01_data", "book/references"]
    assert found == {f"https://alice.github.io/fork/stable/{page}.html" for page in pages}


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
# Versions side by side
# --------------------------------------------------------------------------------------------------
BASE = "https://alice.github.io/fork/"


def book(folder, kind, text="x"):
    """A folder that looks like a built book of one page."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "book").mkdir(parents=True)
    (folder / "book" / "index.html").write_text(text)
    (folder / "index.html").write_text('<meta http-equiv="Refresh" content="0; url=book/" />')
    (folder / "sitemap.xml").write_text(
        '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
        f"<url><loc>{BASE}{kind}/book/index.html</loc></url></urlset>"
    )
    return folder


def tree(folder):
    """{path: bytes} of all files of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}  # fmt: skip


def text_of(folder, version):
    return (folder / version / "book" / "index.html").read_text()


def test_versions_stand_side_by_side(tmp_path):
    into = tmp_path / "pages"

    def put(version, text):
        kind = "latest" if version == "latest" else "stable"
        publish.publish(book(tmp_path / "site", kind, text), version, into)

    def listed():
        return [row["version"] for row in json.loads((into / "versions.json").read_text())]

    put("latest", "main 1")
    assert listed() == ["latest"]
    assert "url=latest/" in (into / "index.html").read_text()
    assert f"<loc>{BASE}latest/sitemap.xml</loc>" in (into / "sitemap.xml").read_text()
    put("v0.9.0", "nine")
    put("v0.10.0", "ten")  # higher than 0.9.0, though not as text
    put("v0.9.1", "a fix of an old one")
    put("latest", "main 2")
    assert listed() == ["stable", "latest", "v0.10.0", "v0.9.1", "v0.9.0"]
    texts = {version: text_of(into, version) for version in listed()}
    assert texts == {"stable": "ten", "latest": "main 2", "v0.10.0": "ten",
                     "v0.9.1": "a fix of an old one", "v0.9.0": "nine"}  # fmt: skip
    rows = json.loads((into / "versions.json").read_text())
    assert [row["version"] for row in rows if row["preferred"]] == ["stable"]
    assert rows[0]["name"] == "stable (v0.10.0)"
    assert all(row["url"] == f"{BASE}{row['version']}/" for row in rows)
    assert f"Sitemap: {BASE}sitemap.xml\n" in (into / "robots.txt").read_text()
    assert (into / ".nojekyll").is_file()
    index = ElementTree.parse(into / "sitemap.xml").getroot()
    assert [node.text for node in index.iter() if node.tag.endswith("}loc")] == [
        f"{BASE}stable/sitemap.xml"
    ]
    before = tree(into)
    put("latest", "main 2")
    put("v0.10.0", "ten")
    assert tree(into) == before
    put("v0.10.0", "ten again")
    assert text_of(into, "stable") == "ten again"
    (into / "stable" / "book" / "index.html").write_text("broken")
    put("v0.9.1", "a fix of an old one")
    assert text_of(into, "stable") == "broken"  # only the highest release renews it


def test_pages_of_the_root_work_without_a_script(tmp_path):
    publish.publish(book(tmp_path / "site", "stable"), "v1.0.0", tmp_path / "pages")
    for name in ("index.html", "versions.html"):
        page = (tmp_path / "pages" / name).read_text()
        assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
        assert "<script" not in page
        assert re.search("<title>.+</title>", page)
        assert "<main>" in page
        for link in re.findall(r'<a href="([^"]+)"', page):
            assert (tmp_path / "pages" / link).exists(), link
    assert 'content="0; url=stable/"' in (tmp_path / "pages" / "index.html").read_text()


@pytest.mark.parametrize("version", ["main", "stable", "1.0.0", "v1.0", "v1.0.0/..", "../x", ""])
def test_another_name_for_a_version_is_one_error(tmp_path, version, capsys):
    site = book(tmp_path / "site", "stable")
    assert publish.main([str(site), version, str(tmp_path / "pages")]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: version: found {version!r}, expected latest or vX.Y.Z"
    ]
    assert not (tmp_path / "pages").exists()


def test_a_folder_that_is_no_such_book_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a built book"):
        publish.publish(tmp_path, "latest", tmp_path / "pages")
    site = book(tmp_path / "site", "latest")
    with pytest.raises(ValueError, match=r"found pages of .*fork/latest/, expected of .../stable/"):
        publish.publish(site, "v1.0.0", tmp_path / "pages")
    (site / "sitemap.xml").write_text("<loc>https://alice.github.io/fork/latest/none.html</loc>")
    with pytest.raises(ValueError, match="found no address of a page"):
        publish.publish(site, "latest", tmp_path / "pages")
    assert not (tmp_path / "pages").exists()


def test_a_publication_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    into = tmp_path / "pages"
    publish.publish(book(tmp_path / "site", "latest", "old"), "latest", into)
    before = tree(into)
    site = book(tmp_path / "site", "latest", "new")
    rename, calls = os.rename, []

    def failing(source, target):
        calls.append(target)
        if len(calls) == 2:  # the old version is aside, the new one not yet in its place
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="No space left"):
        publish.publish(site, "latest", into)
    monkeypatch.undo()
    assert tree(into) == before
    (into / f".incoming-{'0' * 32}").mkdir()  # of a process that was killed
    publish.publish(site, "latest", into)
    assert text_of(into, "latest") == "new"
    assert not list(into.glob(".incoming-*")) + list(into.glob(".outgoing-*"))


def test_a_built_book_can_be_published(site, tmp_path):
    publish.publish(site, "v1.2.3", tmp_path)
    rows = json.loads((tmp_path / "versions.json").read_text())
    assert [row["url"] for row in rows] == [f"{BASE}stable/", f"{BASE}v1.2.3/"]
    assert (tmp_path / "stable" / "notebooks" / "01_data.html").is_file()


# --------------------------------------------------------------------------------------------------
# The workflows
# --------------------------------------------------------------------------------------------------
def workflow(path):
    """A workflow, with its triggers under "on", which YAML 1.1 reads as true."""
    found = yaml.safe_load(path.read_text())
    found["on"] = found.pop(True)
    return found


def steps(path, key):
    """The values of `key` in all steps of a workflow."""
    jobs = workflow(path)["jobs"].values()
    return [step[key] for job in jobs for step in job["steps"] if key in step]


def test_the_pages_workflow():
    pages = workflow(ROOT / ".github" / "workflows" / "pages.yml")
    assert pages["on"] == {
        "push": {"branches": ["main"], "tags": ["v*"]},
        "workflow_dispatch": None,
    }
    build, published = pages["jobs"]["build"], pages["jobs"]["publish"]
    assert list(pages["jobs"]) == ["build", "publish"]
    assert published["needs"] == "build"
    # Only the job that runs nothing installed may write.
    assert pages["permissions"] == {}
    assert build["permissions"] == {"contents": "read"}
    assert published["permissions"] == {"contents": "write", "pages": "write", "id-token": "write"}
    assert not any("pip install" in step.get("run", "") for step in published["steps"])
    assert published["concurrency"]["cancel-in-progress"] is False
    runs = steps(ROOT / ".github" / "workflows" / "pages.yml", "run")
    order = ["make install", "workflow/address.py", "make book",
             "workflow/check_site.py _build/html", "workflow/publish.py site"]  # fmt: skip
    where = [next(i for i, run in enumerate(runs) if name in run) for name in order]
    assert where == sorted(where)
    used = steps(ROOT / ".github" / "workflows" / "pages.yml", "uses")
    assert [name.split("@")[0] for name in used[-2:]] == [
        "actions/upload-pages-artifact",
        "actions/deploy-pages",
    ]


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


def test_the_publishing_step_keeps_older_versions(tmp_path):
    """The very script of the workflow, three times, each in a new shallow clone."""
    jobs = workflow(ROOT / ".github" / "workflows" / "pages.yml")["jobs"]
    (script,) = [step["run"] for step in jobs["publish"]["steps"] if "run" in step]
    remote, work = tmp_path / "remote.git", tmp_path / "work"
    git("init", "--quiet", "--bare", "--initial-branch=main", remote)
    git("clone", "--quiet", remote, work)
    git("checkout", "--quiet", "-B", "main", cwd=work)
    (work / "workflow").mkdir()
    shutil.copy2(ROOT / "workflow" / "publish.py", work / "workflow")
    git("add", "--all", cwd=work)
    git("commit", "--quiet", "-m", "x", cwd=work)
    git("push", "--quiet", "origin", "main", cwd=work)
    for number, version in enumerate(("latest", "v0.1.0", "latest")):
        clone = tmp_path / f"clone{number}"
        git("clone", "--quiet", "--depth=1", remote.as_uri(), clone)
        kind = "latest" if version == "latest" else "stable"
        book(clone / "site", kind, f"{version} {number}")
        env = {**os.environ, "VERSION": version, "GITHUB_SHA": "0" * 40,
               "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}  # fmt: skip
        done = subprocess.run(["bash", "-e"], input=script, cwd=clone, env=env, text=True,
                              capture_output=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
    files = git("ls-tree", "-r", "--name-only", "gh-pages", cwd=remote).splitlines()
    assert {name.split("/")[0] for name in files} == {
        ".nojekyll", "index.html", "latest", "robots.txt", "sitemap.xml", "stable", "v0.1.0",
        "versions.html", "versions.json",
    }  # fmt: skip
    assert git("show", "gh-pages:latest/book/index.html", cwd=remote) == "latest 2"
    assert git("show", "gh-pages:stable/book/index.html", cwd=remote) == "v0.1.0 1"
    assert git("rev-list", "--count", "gh-pages", cwd=remote) == "1"


# --------------------------------------------------------------------------------------------------
# Releases
# --------------------------------------------------------------------------------------------------
@pytest.fixture
def repository(tmp_path):
    """What a release rewrites, as a copy."""
    names = ["_config.yml", "pyproject.toml", "cosmolib/__init__.py", "CITATION.cff"]
    for name in [*names, "CHANGELOG.md", *(p.relative_to(ROOT) for p in NOTEBOOKS)]:
        for path in {Path(name), Path(name).with_suffix(".py")} & {
            p.relative_to(ROOT) for p in (ROOT / name).parent.iterdir()
        }:
            (tmp_path / path).parent.mkdir(exist_ok=True)
            shutil.copy2(ROOT / path, tmp_path / path)
    return tmp_path


def test_a_release_and_what_follows(repository):
    here = address.Address(address.committed()[0], "v9.8.7", "v9.8.7")
    with pytest.raises(ValueError, match="run `python workflow/release.py 9.8.7` before the tag"):
        address.check_release(here, repository)
    release.prepare("9.8.7", repository)
    address.check_release(here, repository)
    assert address.committed(repository / "_config.yml") == (here.url, "v9.8.7")
    assert yaml.safe_load((repository / "CITATION.cff").read_text())["version"] == "9.8.7"
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert project["version"] == "9.8.7"
    assert '__version__ = "9.8.7"' in (repository / "cosmolib" / "__init__.py").read_text()
    changelog = (repository / "CHANGELOG.md").read_text()
    assert re.search(r"^## 9\.8\.7 \(\d{4}-\d\d-\d\d\)$", changelog, flags=re.M)
    pairs = sorted((repository / "notebooks").iterdir())
    assert len(pairs) == 14
    for path in pairs:
        (cell,) = [c for c in jupytext.read(path).cells if "home, branch" in c.source]
        assert f'home, branch = "{here.url}", "v9.8.7"' in cell.source
    with pytest.raises(ValueError, match="found version 9.8.7, expected a new one"):
        release.prepare("9.8.7", repository)
    release.prepare("main", repository)
    assert address.committed(repository / "_config.yml") == (here.url, "main")
    opened = (repository / "CHANGELOG.md").read_text()
    assert opened.index("## Unreleased") < opened.index("## 9.8.7")
    before = tree(repository)
    release.prepare("main", repository)
    assert tree(repository) == before


def test_a_release_that_cannot_be_written_writes_nothing(repository):
    with pytest.raises(ValueError, match="found '1.2', expected X.Y.Z or the name of a branch"):
        release.prepare("1.2", repository)
    path = repository / "notebooks" / "07_validation.py"
    path.write_text(path.read_text().replace("home, branch", "home, ref"))
    before = tree(repository)
    with pytest.raises(ValueError, match=r"notebooks/07_validation.py: found 0 lines like"):
        release.prepare("9.8.7", repository)
    assert tree(repository) == before


def test_the_extensions_of_the_book_are_installed():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    for name in config["sphinx"]["extra_extensions"]:
        importlib.metadata.version(name.replace(".", "-").replace("_", "-"))
