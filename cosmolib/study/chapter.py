"""Publish a chapter's results: its glued numbers, its JSON file and its Provenance section."""

from __future__ import annotations

import numbers as numeric
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cosmolib.study.io import write_json
from cosmolib.study.provenance import provenance, what_made

if TYPE_CHECKING:
    from IPython.display import Markdown

    from cosmolib.study.profile import Profile


def publish(
    chapter: str,
    numbers: dict,
    *,
    runs_dir: str | Path,
    profile: Profile,
    suites: dict[str, str],
    started: float,
    study: str = "",
    suffix: str = "",
    options: str = "",
    device: str = "cpu",
    table: dict | None = None,
    **tables,
) -> Markdown:
    """Glue the numbers of a chapter, write its tables, and return its Provenance section.

    Parameters
    ----------
    chapter : str
        Such as "05_interpretation": the notebook, and the file
        ``<runs_dir>/<study>/results/<chapter><suffix>.json``.
    numbers : dict
        Text, integer or floating-point number by key, for the prose.
    runs_dir : path
    profile : Profile
    suites : dict
        ``Suite.fingerprint`` of each suite that was read, by its name.
    started : float
        ``time.perf_counter()`` at the start of the chapter.
    study : str
        Folder of the study, by default the profile's name.
    suffix, options : str
        Of the file and of the command, where the chapter did not run with its defaults.
    device : str
        As torch names it.
    table : dict, optional
        Contents of the file, of any keys.
    **tables
        More contents, to which the provenance is added.
    """
    from IPython.display import Markdown
    from myst_nb import glue

    for key, value in numbers.items():
        glue(key, _plain(value), display=False)
    fingerprint = next(iter(suites.values()), None)
    made = provenance(profile, fingerprint, time.perf_counter() - started, device)
    path = Path(runs_dir) / (study or profile.name) / "results" / f"{chapter}{suffix}.json"
    write_json(path, {**(table or {}), **tables, "provenance": made})
    output = f"{chapter.split('_')[0]}.ipynb"
    command = f"papermill notebooks/{chapter}.ipynb {output} -p profile {profile.name}{options}"
    return Markdown(what_made([("Made", command, made)], suites))


def _plain(value):
    """Return a number of numpy as Python's own, so that the book can format it."""
    if isinstance(value, numeric.Integral):
        return int(value)
    return float(value) if isinstance(value, numeric.Real) else str(value)
