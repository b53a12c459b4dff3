"""Collect the executed notebooks and the prose in one folder, and build the book from it.

``stage.py collect BUILD FIGURE PROFILE`` fills ``BUILD/book`` and puts the headline figure in it;
``stage.py build BUILD HTML`` runs jupyter-book strictly and moves the result to ``HTML``.
"""

import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cosmolib.study.io import exit_code, read_yaml, sha256, write_json  # noqa: E402
from cosmolib.study.locks import is_held  # noqa: E402

PROSE = ("_toc.yml", "CHANGELOG.md")
SUBTITLE = "R² of two parameters for each part of the map that a network sees"
ENTRANCE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="0; url=book/index.html">
<title>Where in the cosmic web is the cosmology?</title>
<link rel="icon" href="_static/logo.svg">
<style>:root { color-scheme: light dark; }</style>
</head>
<body>
<main><p>The book is at <a href="book/index.html">book/index.html</a>.</p></main>
</body>
</html>
"""


def collect(build, headline, profile):
    """Fill ``build/book`` again and list its files in ``build/staged.json``.

    The headline figure of this run replaces the committed one, which the README shows; its other
    formats and the table of results are offered for download.
    """
    # here, because `build` does not need them
    import address
    import colophon
    import pictures
    import social_card
    import tables

    build = Path(build)
    tidy(build)
    book = build / "book"
    shutil.rmtree(book, ignore_errors=True)
    book.mkdir(parents=True)
    for name in PROSE:
        shutil.copy2(ROOT / name, book / name)
    config = read_yaml(ROOT / "_config.yml")
    (book / "_config.yml").write_text(address.staged_config(config), encoding="utf-8")
    shutil.copytree(ROOT / "book", book / "book", ignore=shutil.ignore_patterns("__pycache__"))
    static = book / "book" / "_static"
    made = Path(headline).parent
    for path in [*made.glob("headline.*"), *made.glob("results.csv")]:
        shutil.copy2(path, static)
    social_card.draw(headline, config["title"], SUBTITLE, static / Path(address.CARD).name)
    folder = book / "book" / "_tables"
    folder.mkdir()
    tables.write_benchmarks(folder, static)
    tables.write_provenance(profile, folder)
    colophon.write(profile, book / "book")
    shutil.copytree(
        build / "notebooks", book / "notebooks", ignore=shutil.ignore_patterns(".*", "*.failed.*")
    )
    for path in (book / "notebooks").glob("*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        forget_paths(notebook)
        pictures.lighten(notebook)
        text = json.dumps(notebook, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
    paths = [path for path in sorted(book.rglob("*")) if path.is_file()]
    listing = {path.relative_to(book).as_posix(): sha256(path) for path in paths}
    write_json(build / "staged.json", listing)


def forget_paths(notebook):
    """Remove paths of this machine from a staged notebook, which readers can download.

    papermill records input and output paths; import warnings name folders. The page shows neither.
    The cell in which papermill keeps the parameters of the run is folded, like all code.
    """
    notebook["metadata"].pop("papermill", None)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            tags = cell["metadata"].get("tags", [])
            if "injected-parameters" in tags:
                cell["metadata"]["tags"] = [*tags, "hide-input"]
            cell["outputs"] = [out for out in cell["outputs"] if out.get("name") != "stderr"]


def tidy(build):
    """Remove the working copies of notebooks whose runner was killed, and their locks."""
    for lock in Path(build).rglob(".*.lock"):
        if not is_held(lock):
            for left in lock.parent.glob(f"{glob.escape(lock.name.removesuffix('.lock'))}-*.ipynb"):
                left.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)


def build(folder, html):
    """Build ``folder/book`` strictly and move it to `html`; return 0, or 1 after a warning.

    A book with a warning is not moved; the reports of jupyter-book stay in ``folder/site``.
    """
    folder, html = Path(folder), Path(html)
    site = folder / "site"
    shutil.rmtree(site, ignore_errors=True)
    arguments = ["build", str(folder / "book"), "--path-output", str(site)]
    done = subprocess.run(
        # Not the script jupyter-book: its first line cannot hold every path of an interpreter.
        [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", *arguments]
        + ["--all", "--warningiserror", "--keep-going", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
        # Sphinx and its extensions raise deprecation warnings that no page can cure.
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        print(f"error: the book has warnings or failed ({done.returncode})", file=sys.stderr)
        return 1
    # The folder's own address leads to the first page; jupyter-book's page for it has no title.
    (site / "_build" / "html" / "index.html").write_text(ENTRANCE, encoding="utf-8")
    shutil.rmtree(html, ignore_errors=True)
    html.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(site / "_build" / "html", html)
    print(f"{html}/index.html  {len(list(html.rglob('*.html')))} pages")
    return 0


def main():
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for function, names in (
        (collect, ("build", "headline", "profile")),
        (build, ("build", "html")),
    ):
        command = commands.add_parser(function.__name__)
        command.set_defaults(function=function, names=names)
        for name in names:
            command.add_argument(name)
    options = vars(parser.parse_args())
    return exit_code("error", options["function"], *(options[name] for name in options["names"]))


if __name__ == "__main__":
    sys.exit(main())
