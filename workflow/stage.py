"""Collect executed notebooks and prose in one folder, and build the book.

``stage.py collect BUILD FIGURE PROFILE`` fills ``BUILD/book``, including the headline figure;
``stage.py build BUILD HTML`` runs jupyter-book and moves the result to ``HTML``.
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
    """Replace ``build/book`` and list its files in ``build/staged.json``.

    The headline figure of this study replaces the committed one, which the README shows. Its other
    formats and the table of results are offered for download.
    """
    import address  # imported here because `build` does not need these modules
    import colophon
    import pictures
    import social_card
    import tables

    build = Path(build)
    tidy(build)
    book = build / "book"
    shutil.rmtree(book, ignore_errors=True)
    book.mkdir(parents=True)
    for name in ("_toc.yml", "CHANGELOG.md"):
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
    tables.write_api(folder)
    tables.write_provenance(profile, folder)
    colophon.write(profile, book / "book")
    shutil.copytree(
        build / "notebooks", book / "notebooks", ignore=shutil.ignore_patterns(".*", "*.failed.*")
    )
    for path in (book / "notebooks").glob("*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        remove_local_paths(notebook)
        pictures.compress(notebook)
        text = json.dumps(notebook, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
    paths = [path for path in sorted(book.rglob("*")) if path.is_file()]
    listing = {path.relative_to(book).as_posix(): sha256(path) for path in paths}
    write_json(build / "staged.json", listing)


def remove_local_paths(notebook):
    """Remove local paths from a notebook (a dict), which readers can download, in place.

    papermill records input and output paths, and warnings on stderr contain folders. The parameters
    that it injected are not shown: the provenance of the page contains them.
    """
    notebook["metadata"].pop("papermill", None)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            tags = cell["metadata"].get("tags", [])
            if "injected-parameters" in tags:
                cell["metadata"]["tags"] = [*tags, "remove-cell"]
            if "parameters" in tags:
                cell["metadata"]["mystnb"] = {"code_prompt_show": "Show parameters"}
            cell["outputs"] = [out for out in cell["outputs"] if out.get("name") != "stderr"]


def tidy(build):
    """Remove temporary notebooks and locks that a killed process left behind."""
    for lock in Path(build).rglob(".*.lock"):
        if not is_held(lock):
            for left in lock.parent.glob(f"{glob.escape(lock.name.removesuffix('.lock'))}-*.ipynb"):
                left.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)


def build(folder, html):
    """Build ``folder/book`` and move it to `html`; return 0, or 1 if there was a warning.

    After a warning the book is not moved; jupyter-book's reports stay in ``folder/site``.
    """
    folder, html = Path(folder), Path(html)
    site = folder / "site"
    shutil.rmtree(site, ignore_errors=True)
    arguments = ["build", str(folder / "book"), "--path-output", str(site)]
    done = subprocess.run(
        # The script jupyter-book fails if the interpreter's path contains spaces.
        [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", *arguments]
        + ["--all", "--warningiserror", "--keep-going", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
        # Deprecation warnings inside Sphinx are not about the book.
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        print(f"error: the book has warnings or failed ({done.returncode})", file=sys.stderr)
        return 1
    # Replace jupyter-book's redirection to the first page, which has no title.
    (site / "_build" / "html" / "index.html").write_text(ENTRANCE, encoding="utf-8")
    shutil.rmtree(html, ignore_errors=True)
    html.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(site / "_build" / "html", html)
    print(f"{html}/index.html  {len(list(html.rglob('*.html')))} pages")
    return 0


def main():
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for function, n in ((collect, 3), (build, 2)):
        command = commands.add_parser(function.__name__, help=function.__doc__.splitlines()[0])
        command.set_defaults(function=function)
        command.add_argument("arguments", nargs=n)
    options = parser.parse_args()
    return exit_code("error", options.function, *options.arguments)


if __name__ == "__main__":
    sys.exit(main())
