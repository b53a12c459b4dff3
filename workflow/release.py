"""Prepare a release, or go on after it: ``release.py X.Y.Z``, ``release.py main``.

With a version: writes it where it stands (package, citation, changelog) and points the first cells
of the notebooks at its tag, so that a notebook of the release fetches the release. With a branch:
points the cells back at that branch and opens the changelog. Commit, tag and push are left to you.
"""

import argparse
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import address  # noqa: E402
from publish import RELEASE  # noqa: E402

from cosmolib.files import atomic_path  # noqa: E402


def prepare(target, root=ROOT):
    """Rewrite the files of a repository for a release or a branch; return the paths.

    Parameters
    ----------
    target : str
        ``"X.Y.Z"`` or the name of a branch.
    root : path-like
        The repository.

    Raises
    ------
    ValueError
        No such version or branch, a release that the changelog has, or a file that does not say
        once what is to be replaced. Nothing is written then.
    """
    root = Path(root)
    release = bool(RELEASE.fullmatch(f"v{target}"))
    if not release and not re.fullmatch(r"[A-Za-z][\w./-]*", target):
        raise ValueError(f"release: found {target!r}, expected X.Y.Z or the name of a branch")
    ref = f"v{target}" if release else target
    url, _ = address.committed(root / "_config.yml")
    changes = [("_config.yml", r"(?m)^  branch: .*$", f"  branch: {ref}")]
    cell = r'home, branch = (\\?")[^"\\]*\\?", \\?"[^"\\]*\\?"'
    for path in sorted((root / "notebooks").glob("0*.*")):
        changes.append((f"notebooks/{path.name}", cell, rf"home, branch = \1{url}\1, \1{ref}\1"))
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if release:
        today = f"{datetime.now(UTC):%Y-%m-%d}"
        if re.search(rf"(?m)^## {re.escape(target)} ", changelog):
            raise ValueError(f"CHANGELOG.md: found version {target}, expected a new one")
        changes += [
            ("pyproject.toml", r'(?m)^version = ".*"$', f'version = "{target}"'),
            ("cosmolib/__init__.py", r'(?m)^__version__ = ".*"$', f'__version__ = "{target}"'),
            ("CITATION.cff", r"(?m)^version: .*$", f"version: {target}"),
            ("CITATION.cff", r"(?m)^date-released: .*$", f"date-released: {today}"),
            ("CHANGELOG.md", r"(?m)^## Unreleased$", f"## {target} ({today})"),
        ]
    elif "\n## Unreleased\n" not in changelog:
        changes.append(("CHANGELOG.md", r"(?s)\A(.*?\n)(?=## )", r"\1## Unreleased\n\n"))
    texts = {}
    for name, pattern, new in changes:
        text = texts.get(name) or (root / name).read_text(encoding="utf-8")
        texts[name], times = re.subn(pattern, new, text)
        if times != 1:
            raise ValueError(f"{name}: found {times} lines like {pattern!r}, expected one")
    for name, text in texts.items():
        with atomic_path(root / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return list(texts)


def main(arguments=None):
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", help="X.Y.Z, or the branch to go on with")
    try:
        print("\n".join(prepare(parser.parse_args(arguments).target)))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
