"""Append the section *Provenance* to the prose pages; chapters write it themselves."""

import re
from pathlib import Path

from tables import chapters_made

from cosmolib.study.profile import load_profile
from cosmolib.study.provenance import provenance, short_commit, what_made
from cosmolib.training.dataset import study_suite

QUOTED = re.compile(r"notebooks/(\d\d[a-z]?_\w+)\.ipynb::")  # in a glued number


def write(profile, pages, root="runs"):
    """Append the section to every page in the folder `pages`.

    It lists the command that built the book, the commit and the data, and commit and run time of
    each chapter from which the page quotes numbers.
    """
    profile = load_profile(profile)
    command = "make book" if profile.name == "demo" else f"make study PROFILE={profile.name}"
    data = {name: study_suite(name, profile).fingerprint for name in profile.suites}
    chapters = chapters_made(profile, root)
    now = provenance(profile)
    for page in sorted(Path(pages).glob("*.md")):
        text = page.read_text(encoding="utf-8")
        quoted = {name: chapters[name] for name in QUOTED.findall(text) if name in chapters}
        now["seconds"] = sum(made["seconds"] or 0 for made in quoted.values())
        lines = [text.rstrip(), "", "## Provenance", ""]
        lines.append(what_made([("Built", command, now)], data).rstrip())
        lines += [
            f"- numbers of [{name.replace('_', ' ', 1)}](../notebooks/{name}.ipynb): commit "
            f"`{short_commit(made['git'])}`, {made['seconds'] or 0:.0f} seconds"
            for name, made in sorted(quoted.items())
        ]
        page.write_text("\n".join(lines) + "\n", encoding="utf-8")
