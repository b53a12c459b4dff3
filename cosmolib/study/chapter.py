"""Select the study that a chapter shows, and publish the results of the chapter."""

import time
from pathlib import Path

import numpy as np

from cosmolib.study.io import read_json, write_json
from cosmolib.study.profile import Profile, load_profile
from cosmolib.study.provenance import provenance, what_made

# Settings of the chapters themselves: they change no network of a stored study.
_OWN = ("attribution_maps", "attribution_check_maps", "ig_steps", "ig_tolerance", "shap_samples")


def shown_study(profile: Profile, runs_dir="runs", stored_dir="results") -> tuple[Profile, Path]:
    """Return the profile and the folder of the runs that a profile's chapters show.

    Where the profile has no ``answer`` these are its own. Otherwise they are those of the stored
    study, with the attribution settings of the profile.

    Raises
    ------
    ValueError
        The stored study was made on other suites.
    """
    if profile.answer is None:
        return profile, Path(runs_dir)
    shown = load_profile(profile.answer)
    if shown.suites != profile.suites:
        found = f"the stored study {shown.name!r} is about {', '.join(shown.suites)}"
        expected = f"one about {', '.join(profile.suites)}, or null"
        raise ValueError(f"profile {profile.name}: key 'answer': {found}, expected {expected}")
    return shown.replace(**{key: getattr(profile, key) for key in _OWN}), Path(stored_dir)


def stored_results(
    profile: Profile, file: str, stored_dir="results", read=read_json
) -> dict | None:
    """Read a table of the stored study that a profile names, or of the same name as the profile.

    ``read`` reads the file and may check its contents. The table is None if the study has no such
    table, for example because it is still running.
    """
    path = Path(stored_dir) / (profile.answer or profile.name) / file
    return read(path) if path.is_file() else None


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
    seconds = time.perf_counter() - started
    made = provenance(profile, next(iter(suites.values()), None), seconds, device)
    chosen = {"profile": profile.name} | {k: v for k, v in (options or {}).items() if v}
    part = f"-{chosen['suite']}" if "suite" in chosen and study in ("", profile.name) else ""
    path = Path(runs_dir) / (study or profile.name) / "results" / f"{chapter}{part}.json"
    write_json(path, {**(table or {}), **tables, "provenance": made})
    command = f"papermill notebooks/{chapter}.ipynb {chapter.split('_')[0]}.ipynb"
    command += "".join(f" -p {key} {value}" for key, value in chosen.items())
    return Markdown(what_made([("Made", command, made)], suites))
