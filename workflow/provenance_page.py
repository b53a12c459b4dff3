"""The page *Provenance*: what made every run and chapter that the book shows, as MyST tables."""

import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cosmolib.files import read_json  # noqa: E402
from cosmolib.profile import load_profile  # noqa: E402
from cosmolib.runs import short_commit  # noqa: E402
from cosmolib.standing import study_standing  # noqa: E402


def write(profile, tables, root=ROOT / "runs"):
    """Write ``provenance.md`` into the folder ``tables``."""
    profile = load_profile(profile)
    standings = study_standing(profile, root)
    text = "\n\n".join([summary(profile, standings), runs(standings), chapters(profile, root)])
    Path(tables, "provenance.md").write_text(text + "\n", encoding="utf-8")


def summary(profile, standings):
    """Return what all runs share, and how many do not stand any more."""
    made = [one.made for one in standings if one.made]
    if not made:
        return f"No run of the profile `{profile.name}` is done."
    versions = Counter(
        ", ".join(f"{name} {version}" for name, version in one["versions"].items() if version)
        for one in made
    )
    stale = sum(one.state != "done" for one in standings)
    verdict = (
        "**Every run is current**: made by the code, the packages, the data and the settings that "
        "are here now."
        if not stale
        else f"**{stale} of {len(standings)} runs are not current**, see the column *state*. "
        "The next `make` trains a stale run again."
    )
    platforms = " and ".join(dict.fromkeys(one["platform"] for one in made))
    hours = sum(one.get("training_seconds", one["seconds"] or 0) for one in made) / 3600
    lines = [
        f"{len(standings)} runs of the profile `{profile.name}`, {hours:.1f} hours of training in "
        f"all, on {platforms}. {verdict}",
        "",
        "Packages: " + "; ".join(f"{text} ({n} runs)" for text, n in versions.most_common()) + ".",
    ]
    return "\n".join(lines)


def runs(standings):
    """Return a row a run."""
    lines = [
        "| run | state | made | commit | code | data | device | seconds |",
        "|---|---|---|---|---|---|---|---:|",
    ]
    for one in standings:
        run = one.run
        control = ", shuffled labels" if run.profile.endswith("-shuffled") else ""
        name = f"{run.suite} `{run.cut}` {run.architecture} seed {run.seed}{control}"
        state = one.state if one.state == "done" else f"**{one.state}**: {one.detail}"
        lines.append(f"| {name} | {state} | {' | '.join(_cells(one.made))} |")
    return "\n".join(lines)


def _cells(made):
    if made is None:
        return [""] * 6
    seconds = made.get("training_seconds", made["seconds"])
    return [
        made["utc"][:16].replace("T", " "), short_commit(made["git"]), _digest(made.get("code")),
        _digest(made["data_fingerprint"]), made["device"], f"{seconds:.0f}",
    ]  # fmt: skip


def chapters(profile, root):
    """Return a row a chapter whose numbers were stored."""
    lines = ["| chapter | made | commit | code | seconds |", "|---|---|---|---|---:|"]
    for name, made in chapters_made(profile, root).items():
        lines.append(
            f"| {name[:2]} {name[3:].replace('_', ' ')} | "
            f"{made['utc'][:16].replace('T', ' ')} | {short_commit(made['git'])} | "
            f"{_digest(made.get('code'))} | {made['seconds'] or 0:.0f} |"
        )
    return "\n".join(lines)


def chapters_made(profile, root):
    """Return the provenance of each chapter whose numbers were stored, by the name of its file."""
    found = {}
    for path in sorted(Path(root, profile.name, "results").glob("0*.json")):
        table = read_json(path)
        if isinstance(table, dict) and table.get("provenance"):
            found[path.stem] = table["provenance"]
    return found


def _digest(text):
    return f"`{text}`" if text else "unknown"
