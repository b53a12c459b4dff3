"""*What made this page* for the pages of prose; chapters end with their own (`what_made`)."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tables import chapters_made  # noqa: E402

from cosmolib.study import provenance  # noqa: E402
from cosmolib.study.profile import load_profile  # noqa: E402
from cosmolib.training.dataset import study_suite  # noqa: E402

QUOTED = re.compile(r"notebooks/(\d\d[a-z]?_\w+)\.ipynb::")  # a glued number names its chapter


def write(profile, pages, root="runs"):
    """Add the section to every page of the folder `pages`.

    It has the command that made the book, the commit and the data, and for each chapter that the
    page quotes the commit and the seconds of its run.
    """
    profile = load_profile(profile)
    command = "make book" if profile.name == "demo" else f"make study PROFILE={profile.name}"
    data = {name: study_suite(name, profile).fingerprint for name in profile.suites}
    chapters = chapters_made(profile, root)
    now = provenance.provenance(profile)
    for page in sorted(Path(pages).glob("*.md")):
        text = page.read_text(encoding="utf-8")
        quoted = {name: chapters[name] for name in QUOTED.findall(text) if name in chapters}
        now["seconds"] = sum(made["seconds"] or 0 for made in quoted.values())
        lines = [text.rstrip(), "", "## What made this page", ""]
        lines.append(provenance.what_made([("Built", command, now)], data).rstrip())
        lines += [
            f"- numbers of [{name.replace('_', ' ', 1)}](../notebooks/{name}.ipynb): commit "
            f"`{provenance.short_commit(made['git'])}`, {made['seconds'] or 0:.0f} seconds"
            for name, made in sorted(quoted.items())
        ]
        page.write_text("\n".join(lines) + "\n", encoding="utf-8")
