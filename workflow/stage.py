"""Collect the executed notebooks and the prose in one folder, and build the book from it.

``stage.py collect BUILD --headline FIGURE`` fills ``BUILD/book``;
``stage.py build BUILD HTML`` runs jupyter-book strictly and moves the result to ``HTML``.
"""

import argparse
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cosmolib.files import exit_code  # noqa: E402
from cosmolib.locks import is_held  # noqa: E402
from cosmolib.runs import short_commit  # noqa: E402

PROSE = ("_toc.yml", "CHANGELOG.md")
SUBTITLE = "R² of two parameters for each part of the map that a network may see"
BENCH = ROOT / "results" / "benchmarks" / "camels.json"  # of `make bench-camels`
SPEED_BENCH = ROOT / "results" / "benchmarks" / "speed.json"  # of `make bench`
ATTRIBUTION_BENCH = ROOT / "results" / "benchmarks" / "attribution.json"  # make bench-attribution
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
    """Fill ``build/book`` anew and list what it holds in ``build/staged.json``.

    The headline figure of this very run replaces the committed one, which the README shows.
    """
    # here, because `build` needs nothing of them
    import address
    import colophon
    import pictures
    import provenance_page
    import social_card
    import speed_page
    import survival_page

    build = Path(build)
    tidy(build)
    book = build / "book"
    shutil.rmtree(book, ignore_errors=True)
    book.mkdir(parents=True)
    for name in PROSE:
        shutil.copy2(ROOT / name, book / name)
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    text = address.staged_config(config)
    (book / "_config.yml").write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "book", book / "book", ignore=shutil.ignore_patterns("__pycache__"))
    static = book / "book" / "_static"
    shutil.copy2(headline, static / "headline.png")
    title = address.title(config)
    social_card.draw(headline, title, SUBTITLE, static / Path(address.CARD).name)
    tables = book / "book" / "_tables"
    tables.mkdir()
    (tables / "camels.md").write_text(camels_table(BENCH), encoding="utf-8")
    text = attribution_table(ATTRIBUTION_BENCH)
    (tables / "attribution.md").write_text(text, encoding="utf-8")
    speed_page.write(SPEED_BENCH, tables, static)
    survival_page.write(BENCH.parent, tables)
    provenance_page.write(profile, tables)
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
    listing = {
        path.relative_to(book).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(book.rglob("*"))
        if path.is_file()
    }
    temporary = build / ".staged.json"
    temporary.write_text(json.dumps(listing, indent=1) + "\n")
    os.replace(temporary, build / "staged.json")


def forget_paths(notebook):
    """Drop from a staged notebook, which the book offers to download, what names this machine.

    papermill notes where it read and wrote; import warnings name folders. The page shows neither.
    The cell in which papermill keeps the parameters of the run is folded, as all code is.
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


def attribution_table(path):
    """Return the table of `make bench-attribution` as MyST text, or a line that there is none."""
    if not Path(path).is_file():
        return "*Not measured: `make bench-attribution` makes this table.*\n"
    bench = json.loads(Path(path).read_text(encoding="utf-8"))
    made = bench["provenance"]
    lines = [
        f"Maps of {bench['grid']} x {bench['grid']} pixels, on {bench['machine']}; "
        f"{made['utc'][:10]}, commit {short_commit(made['git'])}.",
        "",
        "| attribution | plain loop [maps/s] | `attribute` [maps/s] | ratio | median error | "
        "maps complete to 1 % |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in bench["rows"]:
        error = complete = ""
        if "median_error" in row:
            error = (
                f"{100 * row['reference_median_error']:.2f} %, {100 * row['median_error']:.2f} %"
            )
            complete = f"{row['reference_complete']:.2f}, {row['complete']:.2f}"
        lines.append(
            f"| {row['work']} | {row['reference_maps_per_second']:.1f} | "
            f"{row['maps_per_second']:.1f} | {row['ratio']:.1f} | {error} | {complete} |"
        )
    return "\n".join(lines) + "\n"


def camels_table(path):
    """Return the table of `make bench-camels` as MyST text, or a line that says there is none."""
    if not Path(path).is_file():
        return "*Not measured: `make bench-camels` makes this table.*\n"
    bench = json.loads(Path(path).read_text(encoding="utf-8"))
    machine, size, rows = bench["hardware"], bench["file_bytes"], bench["rows"]
    n, grid = bench["size"]
    made = [row.get("provenance", bench["provenance"]) for row in rows]
    days = " and ".join(sorted({one["utc"][:10] for one in made}))
    commits = " and ".join(dict.fromkeys(short_commit(one["git"]) for one in made))
    base = sum(row["base_mb"] for row in rows) / len(rows)
    lines = [
        f"A file of {15 * n} maps of {grid} x {grid} pixels, {size / 1e9:.2f} GB, made of tiled "
        f"and perturbed *Lite* maps, on {machine['cores']} cores of {machine['cpu']} with "
        f"{machine['memory_gb']:.0f} GB, {machine['gpu'] or 'no GPU'}; "
        f"{days}, commit {commits}. "
        f"Memory is the peak of a process of its own above the {base:.0f} MB of Python with torch; "
        "seconds of training, evaluation and attribution are without the preparation of the maps.",
        "",
        "| stage | maps | seconds | peak [MB] | peak / file |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['what']} | {row['maps']} | {row['seconds']:.1f} | {row['above_base_mb']:.0f} | "
        f"{row['above_base_mb'] * 1e6 / size:.2f} |"
        for row in rows
    ]
    summary = _camels_summary({row["stage"]: row["above_base_mb"] * 1e6 for row in rows}, size)
    return "\n".join([*lines, *summary]) + "\n"


def _camels_summary(peak, size):
    """Say what the chain from file to first step takes, as far as it was measured."""
    said = []
    if "chain" in peak:
        disk = ""
        if "chain_disk" in peak:
            disk = f" and {peak['chain_disk'] / 1e9:.2f} GB with `storage: disk`"
        said.append(
            "From the file to the first step at batch 8, with a cut file written on the way, a "
            f"process needs {peak['chain'] / size:.2f} times the file with the maps in memory"
            f"{disk}."
        )
    whole = peak.get("chain_128", peak.get("train"))
    if whole and "train_disk" in peak:
        said.append(
            f"At the published batch of 128 the activations of `o3` on a CPU come on top: "
            f"{whole / size:.2f} times the file, or {peak['train_disk'] / 1e9:.2f} GB with "
            "`storage: disk`."
        )
    return ["", " ".join(said)] if said else []


def build(folder, html):
    """Build ``folder/book`` strictly; only a book without any warning reaches `html`.

    Raises
    ------
    subprocess.CalledProcessError
        If jupyter-book warned or failed; its reports stay in ``folder/site``.
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
        done.check_returncode()
    # The folder's own address leads to the first page; jupyter-book's page for it has no title.
    (site / "_build" / "html" / "index.html").write_text(ENTRANCE, encoding="utf-8")
    shutil.rmtree(html, ignore_errors=True)
    html.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(site / "_build" / "html", html)
    print(f"{html}/index.html  {len(list(html.rglob('*.html')))} pages")


def main():
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("collect", "build"):
        command = commands.add_parser(name)
        command.add_argument("build", help="e.g. build/demo")
        if name == "collect":
            command.add_argument("--headline", required=True, help="figure of the index page")
            command.add_argument("--profile", required=True, help="whose runs the book shows")
        else:
            command.add_argument("html", help="folder for the finished site")
    options = parser.parse_args()
    try:
        if options.command == "collect":
            given = options.build, options.headline, options.profile
            return exit_code("error", collect, *given)
        return exit_code("error", build, options.build, options.html)
    except subprocess.CalledProcessError as error:
        print(f"error: the book has warnings or failed ({error.returncode})", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
