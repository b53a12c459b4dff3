"""Check CMD files: report their contents, or the first fault."""

import dataclasses
from pathlib import Path

import numpy as np

from cosmolib.data import checksums, cmd_format, tables
from cosmolib.data.arrays import bad_input
from cosmolib.data.cmd_format import MAPS_PER_SIMULATION, PARAMETERS, mean_surface_density
from cosmolib.data.suites import Suite, blocks_of_maps, open_files

_MASS_TOLERANCE = 0.05  # boxes conserve mass; a table of other simulations deviates far more


@dataclasses.dataclass(frozen=True)
class Report:
    """Describe the result of checking one file."""

    path: Path
    what: str  # kind of file, according to its name
    found: str  # contents; empty if they could not be read
    problem: str | None  # the first fault, or None

    def __str__(self):
        verdict = "whole, nothing wrong found" if self.problem is None else "NOT usable"
        lines = filter(None, (self.what, *self.found.splitlines(), verdict))
        return "\n  ".join([str(self.path), *lines])


def check_suite(suite: Suite) -> str:
    """Read every pixel of a suite and describe its contents.

    For uncut maps of total matter, the mass is checked as well: the mean of the maps of a
    simulation must be `mean_surface_density` of its row, within 5 % in the median. This detects
    rows in another order and maps in other units.

    Raises
    ------
    ValueError
        A pixel is not finite, matter is zero or negative, or the maps do not match the parameters.
    """
    blocks = [
        (block.min(), block.max(), block.mean(axis=(1, 2), dtype=np.float64))
        for block in blocks_of_maps(suite)
    ]
    low, high, means = zip(*blocks, strict=True)
    n, grid = len(suite.maps), suite.grid
    lines = [
        f"{n} maps of {grid} x {grid} pixels, float32",
        f"box {suite.box_size:g} Mpc/h, pixel {suite.box_size / grid:.4g} Mpc/h",
        f"pixels from {min(low):.4g} to {max(high):.4g}",
    ]
    if suite.cut != "none":
        lines.append(f"cut from the raw maps: {suite.cut}")
    if suite.field == "Mtot" and suite.cut == "none":
        expected = mean_surface_density(suite.params[:, 0], suite.box_size)
        means = np.concatenate(means).reshape(-1, MAPS_PER_SIMULATION).mean(axis=1)  # (n,)
        deviation = np.abs(means / expected - 1)
        if not np.median(deviation) <= _MASS_TOLERANCE:
            found = f"a mean density that is off by {np.median(deviation):.0%} (median)"
            expected = f"that of Omega_m within {_MASS_TOLERANCE:.0%}, in (Msun/h)/(Mpc/h)^2"
            other = f"the units differ, or the rows of {suite.params_path.name} do not match"
            raise bad_input(suite.maps_path, found, f"{expected}: {other}")
        lines.append(f"mean density within {deviation.max():.2g} of that of Omega_m")
    lines += [f"parameters {suite.params_path}", f"fingerprint {suite.fingerprint}"]
    return "\n".join(lines + _table_lines(suite, suite.sim_set))


def _table_lines(table: Suite | tables.Table, sim_set: str) -> list[str]:
    """Describe the parameters of a suite or table."""
    n, whole = len(table.params), cmd_format.SIMULATIONS.get(sim_set)
    lines = [f"{n} simulations" + (f" (CMD's own {sim_set} has {whole})" if whole else "")]
    if table.others is None:
        lines.append("table of 6 columns, amplitudes relative to the fiducial model")
    else:
        varied = tables.off_fiducial(table.params, table.others)[:, len(PARAMETERS) :]  # (n, 22)
        names = ", ".join(np.array(tables.other_parameters())[varied.any(0)])
        lines += [
            "table of 28 columns in CAMELS' physical units, converted",
            f"{varied.any(1).sum()} simulations vary further parameters: {names}",
        ]
    ranges = zip(PARAMETERS, table.params.min(axis=0), table.params.max(axis=0), strict=True)
    return lines + [f"{name:8s} {low:.4g} to {high:.4g}" for name, low, high in ranges]


def check_path(
    path: str | Path, suite: str | None = None, sim_set: str | None = None
) -> list[Report]:
    """Check a CMD file, or all files of maps in a folder.

    Parameters
    ----------
    path
        A file of maps, with its table in the same folder or one folder up; a table; or a folder in
        one of CMD's layouts. The SHA-256 of downloaded files is verified.
    suite, sim_set
        Restrict a folder to this suite and set.

    Returns
    -------
    list of Report
        One per file, including those with faults.

    Raises
    ------
    FileNotFoundError
        There is nothing to check.
    """
    path = Path(path)
    if path.is_file():
        return [_check_file(path)]
    if not path.exists():
        raise FileNotFoundError(f"{path}: found no such file, expected CMD maps or a folder")
    files, wanted = sorted(path.rglob("Maps_*.npy")), []
    for file in files:
        name = cmd_format.FILE_NAME.fullmatch(file.name)
        if name and suite in (None, name["name"]) and sim_set in (None, name["sim_set"]):
            wanted.append(file)
    if not wanted:
        form = f"Maps_<field>_{suite or '<suite>'}_{sim_set or '<set>'}_z=0.00.npy"
        raise FileNotFoundError(f"{path}: found {len(files)} other files of maps, expected {form}")
    return [_check_file(file) for file in wanted]


def _check_file(path: Path) -> Report:
    """Check a file as the kind that its name indicates."""
    what, found, problem, paths = "unknown", "", None, [path]
    try:
        if maps := cmd_format.FILE_NAME.fullmatch(path.name):
            field, name, sim_set = maps["field"], maps["name"], maps["sim_set"]
            what = f"maps of field {field}, suite {name}, set {sim_set}, z = 0"
            above = path.parent.parent
            folders = [path.parent, above, above / name.removeprefix("Nbody_")]  # table of the twin
            names = cmd_format.table_names(name, sim_set)
            paths.append(cmd_format.find(folders, names, f"{name} parameters"))
            lines = [check_suite(open_files(*paths, name, field, sim_set))]
        elif table := cmd_format.TABLE_NAME.fullmatch(path.name):
            name, sim_set = table["name"], table["sim_set"] or "LH"
            what = f"parameters of suite {name}, set {sim_set}"
            lines = _table_lines(tables.read_table(path, name, sim_set), sim_set)
        else:
            state = "an unfinished download" if path.suffix == ".part" else "another name"
            expected = "Maps_<field>_<suite>_<set>_z=0.00.npy or params_<set>_<suite>.txt"
            raise bad_input(path, state, expected)
        downloaded = [file.name for file in paths if checksums.verify(file, full=True)]
        found = "\n".join(lines + [f"SHA-256 as downloaded: {name}" for name in downloaded])
    except (ValueError, OSError) as error:
        problem = " ".join(str(error).split())
    return Report(path, what, found, problem)
