"""Check CMD files: report their contents, or the first fault."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from cosmolib.data import checksums, cmd_format, tables
from cosmolib.data.arrays import bad_input, map_blocks
from cosmolib.data.cmd_format import MAPS_PER_SIMULATION, PARAMETERS, mean_surface_density
from cosmolib.data.suites import Suite, open_files, read_maps

_BLOCK_PIXELS = 2**22  # read at once: 16 MB
_MASS_TOLERANCE = 0.05  # boxes conserve mass; a table of other simulations deviates far more


class Report(NamedTuple):
    """Describe the result of checking one file."""

    path: Path
    found: list[str]  # kind of file, according to its name, and its contents if they can be read
    problem: str | None = None  # the first fault

    def __str__(self):
        verdict = "NOT usable" if self.problem else "whole, nothing wrong found"
        return "\n  ".join([str(self.path), *self.found, verdict])


def check_suite(suite: Suite) -> list[str]:
    """Read every pixel of a suite and return lines that describe its contents.

    For uncut maps of total matter, the mass is checked as well: the mean of the maps of a
    simulation must be `mean_surface_density` of its row, within 5 % in the median. This detects
    rows in another order and maps in other units.

    Raises
    ------
    ValueError
        A pixel is not finite, matter is zero or negative, or the maps do not match the parameters.
    """
    pixels, means = [], []
    for block in map_blocks(suite.maps, _BLOCK_PIXELS):
        maps = read_maps(suite, np.arange(block.start, block.stop))
        pixels += [maps.min(), maps.max()]
        means.extend(maps.mean(axis=(1, 2), dtype=np.float64))
    n, grid = len(suite.maps), suite.grid
    lines = [
        f"{n} maps of {grid} x {grid} pixels, float32",
        f"box {suite.box_size:g} Mpc/h, pixel {suite.box_size / grid:.4g} Mpc/h",
        f"pixels from {min(pixels):.4g} to {max(pixels):.4g}",
    ]
    if suite.cut != "none":
        lines.append(f"cut from the raw maps: {suite.cut}")
    if suite.field == "Mtot" and suite.cut == "none":
        expected = mean_surface_density(suite.params[:, 0], suite.box_size)
        means = np.reshape(means, (-1, MAPS_PER_SIMULATION)).mean(axis=1)  # (n,)
        deviation = np.abs(means / expected - 1)
        if not np.median(deviation) <= _MASS_TOLERANCE:
            found = f"a mean density that is off by {np.median(deviation):.0%} (median)"
            expected = f"that of Omega_m within {_MASS_TOLERANCE:.0%}, in (Msun/h)/(Mpc/h)^2"
            other = f"the units differ, or the rows of {suite.params_path.name} do not match"
            raise bad_input(suite.maps_path, found, f"{expected}: {other}")
        lines.append(f"mean density within {deviation.max():.2g} of that of Omega_m")
    lines.append(f"table of {suite.n_simulations} simulations, {suite.params_path}")
    if whole := cmd_format.SIMULATIONS.get(suite.sim_set):
        lines[-1] += f" (CMD's own {suite.sim_set} has {whole})"
    if suite.others is not None:
        varied = tables.off_fiducial(suite.params, suite.others)[:, len(PARAMETERS) :]  # (n, 22)
        names = ", ".join(np.array(tables.other_parameters())[varied.any(0)])
        lines += [
            "28 columns in CAMELS' physical units, converted to 6",
            f"{varied.any(1).sum()} simulations vary further parameters: {names}",
        ]
    for name, column in zip(PARAMETERS, suite.params.T, strict=True):
        lines.append(f"{name:8s} {column.min():.4g} to {column.max():.4g}")
    return [*lines, f"fingerprint {suite.fingerprint}"]


def check_path(path, suite: str | None = None, sim_set: str | None = None) -> list[Report]:
    """Check a CMD file of maps with its table of parameters, or all of them in a folder.

    Parameters
    ----------
    path : path
        A file of maps, with its table in the same folder or one folder up, or a folder in one of
        CMD's layouts. The SHA-256 of downloaded files is verified.
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
    path, form = Path(path), f"Maps_<field>_{suite or '<suite>'}_{sim_set or '<set>'}_z=0.00.npy"
    if not path.exists():
        raise FileNotFoundError(f"{path}: found no such file, expected CMD maps or a folder")
    files, reports = sorted(path.rglob("Maps_*.npy")) if path.is_dir() else [path], []
    for file in files:
        name = cmd_format.FILE_NAME.fullmatch(file.name)
        if name and suite in (None, name["name"]) and sim_set in (None, name["sim_set"]):
            reports.append(_check_file(file, **name.groupdict()))
    if not reports:
        raise FileNotFoundError(f"{path}: found {len(files)} other files, expected {form}")
    return reports


def _check_file(path: Path, field: str, name: str, sim_set: str) -> Report:
    what, above = f"maps of field {field}, suite {name}, set {sim_set}, z = 0", path.parent.parent
    folders = [path.parent, above, above / name.removeprefix("Nbody_")]  # may have the twin's table
    try:
        names = cmd_format.table_names(name, sim_set)
        files = path, cmd_format.find(folders, names, f"{name} parameters")
        lines = check_suite(open_files(*files, name, field, sim_set))
        downloaded = [file.name for file in files if checksums.verify(file, full=True)]
        lines += [f"SHA-256 as downloaded: {name}" for name in downloaded]
    except (ValueError, OSError) as error:
        return Report(path, [what], " ".join(str(error).split()))
    return Report(path, [what, *lines])
