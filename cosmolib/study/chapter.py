"""Publish the results of a chapter: numbers for its prose, a JSON file and its provenance."""

import time
from pathlib import Path

import numpy as np

from cosmolib.study.io import write_json
from cosmolib.study.provenance import provenance, what_made


def publish(
    chapter, numbers, *, runs_dir, profile, suites, started, study="", options=None, device="cpu",
    table=None, **tables,
):  # fmt: skip
    """Glue the numbers of a chapter, write its tables and return its Provenance section.

    Parameters
    ----------
    chapter : str
        Name of the notebook, such as "05_interpretation", and of the file
        ``<runs_dir>/<study>/results/<chapter>.json``.
    numbers : dict
        Texts and numbers that the prose quotes, by key.
    runs_dir : path
    profile : Profile
    suites : dict
        ``Suite.fingerprint`` by name, for every suite that was read.
    started : float
        ``time.perf_counter()`` at the start of the chapter.
    study : str
        Folder of the study; by default the name of the profile.
    options : dict
        Parameters of the notebook. Values that are not empty are listed in the command. If the
        chapter was run for a single ``suite`` of the profile, the file is
        ``<chapter>-<suite>.json``.
    device : str
        Name of the torch device.
    table : dict, optional
        Contents of the file.
    **tables
        Further entries of the file.

    Returns
    -------
    IPython.display.Markdown
    """
    from IPython.display import Markdown
    from myst_nb import glue

    for key, value in numbers.items():
        glue(key, np.asarray(value).item(), display=False)  # the book formats plain values only
    fingerprint = next(iter(suites.values()), None)
    made = provenance(profile, fingerprint, time.perf_counter() - started, device)
    chosen = {"profile": profile.name} | {k: v for k, v in (options or {}).items() if v}
    part = f"-{chosen['suite']}" if "suite" in chosen and study in ("", profile.name) else ""
    path = Path(runs_dir) / (study or profile.name) / "results" / f"{chapter}{part}.json"
    write_json(path, {**(table or {}), **tables, "provenance": made})
    command = f"papermill notebooks/{chapter}.ipynb {chapter.split('_')[0]}.ipynb"
    command += "".join(f" -p {key} {value}" for key, value in chosen.items())
    return Markdown(what_made([("Made", command, made)], suites))
