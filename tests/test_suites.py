"""Opening, checking and splitting suites; every kind of bad input."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import TINY_GRID, TINY_SIMULATIONS, write_suite_files

from cosmolib import suites
from cosmolib.checks import check_suite
from cosmolib.suites import (
    PARAMETERS,
    map_indices,
    mean_surface_density,
    open_suite,
    parameter_ranges,
    simulation_of,
    split_simulations,
    subset,
)

MAPS = "Maps_Mtot_Lite_LH_z=0.00.npy"
TABLE = "params_LH_Lite.txt"


@pytest.fixture
def folder(tiny_suite_dir, tmp_path):
    """A copy of the tiny suite that a test may spoil."""
    return shutil.copytree(tiny_suite_dir, tmp_path / "cmd")


# ---------------------------------------------------------------------------------------- contract
def test_open_suite(tiny_suite_dir, tiny_params):
    suite = open_suite("Lite", data_dir=tiny_suite_dir)
    assert suite.maps.shape == (15 * TINY_SIMULATIONS, TINY_GRID, TINY_GRID)
    assert suite.maps.dtype == np.float32
    assert isinstance(suite.maps, np.memmap)
    assert suite.params.dtype == np.float64
    np.testing.assert_allclose(suite.params, tiny_params, atol=1e-5)
    assert (suite.name, suite.field, suite.set) == ("Lite", "Mtot", "LH")
    assert (suite.n_simulations, suite.grid) == (TINY_SIMULATIONS, TINY_GRID)
    assert suite.box_size == 25.0
    np.testing.assert_array_equal(suite.maps, np.load(suite.maps_path))


def test_data_is_read_only(tiny_suite_dir):
    suite = open_suite("Lite", data_dir=tiny_suite_dir)
    with pytest.raises(ValueError, match="read-only"):
        suite.maps[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        suite.params[0, 0] = 1


@pytest.mark.parametrize("name", ["IllustrisTNG", "Nbody_IllustrisTNG"])
@pytest.mark.parametrize("layout", ["flat", "folders", "2D_maps", "CMD"])
@pytest.mark.parametrize("table", ["params_LH_{}.txt", "params_{}.txt"])
def test_every_layout_of_cmd(tmp_path, name, layout, table):
    below = "Nbody" if name.startswith("Nbody") else name
    place = {
        "flat": tmp_path,
        "folders": tmp_path / name,
        "2D_maps": tmp_path / "2D_maps" / "data" / below,
        "CMD": tmp_path / "CMD" / "2D_maps" / "data" / below,
    }[layout]
    maps, params = np.full((15, 4, 4), 2e11, np.float32), [[0.3, 0.8, 1, 2, 1, 1.5]]
    _, path = write_suite_files(place, name, maps, params)
    path.rename(place / table.format(name))
    suite = open_suite(name, data_dir=tmp_path)
    assert suite.name == name
    assert suite.params.tolist() == params


def test_old_table_serves_its_own_set_only(tmp_path):
    """``params_<suite>.txt`` is the LH table; it must never label another set."""
    maps = np.full((15, 4, 4), 2e11, np.float32)
    _, path = write_suite_files(tmp_path, "SIMBA", maps, np.ones((1, 6)), set="CV")
    path.rename(tmp_path / "params_SIMBA.txt")
    message = r"params_SIMBA\.txt.*expected params_CV_SIMBA\.txt"
    with pytest.raises(FileNotFoundError, match=message):
        open_suite("SIMBA", data_dir=tmp_path, set="CV")


@pytest.mark.parametrize("header", ["# " + " ".join(PARAMETERS), " ".join(PARAMETERS), ""])
def test_table_header(folder, tiny_params, header):
    np.savetxt(folder / TABLE, tiny_params, header=header, comments="")
    np.testing.assert_array_equal(open_suite("Lite", data_dir=folder).params, tiny_params)


def test_environment_names_the_folder(tmp_path, monkeypatch):
    maps = np.full((15, 4, 4), 2e11, np.float32)
    write_suite_files(tmp_path, "SIMBA", maps, np.ones((1, 6)))
    monkeypatch.setenv("COSMOLIB_DATA", str(tmp_path))
    assert open_suite("SIMBA").maps_path.parent == tmp_path
    monkeypatch.delenv("COSMOLIB_DATA")
    with pytest.raises(FileNotFoundError, match=r"SIMBA.*COSMOLIB_DATA.*https://"):
        open_suite("SIMBA")


def test_lite_needs_no_folder(tiny_suite_dir, tmp_path, monkeypatch):
    """The Lite names come from the repository, whatever the environment says."""
    embedded = pytest.importorskip("cosmolib.embedded")
    monkeypatch.setenv("COSMOLIB_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr(embedded, "expand", lambda name, set: tiny_suite_dir)
    assert open_suite("Nbody_Lite").maps_path.parent == tiny_suite_dir


def test_fingerprint_tells_data_apart(folder):
    lite = open_suite("Lite", data_dir=folder)
    assert lite.fingerprint == open_suite("Lite", data_dir=folder).fingerprint
    others = [open_suite("Nbody_Lite", data_dir=folder), subset(lite, 23)]
    table = np.loadtxt(folder / TABLE)
    table[3, 5] += 0.01
    np.savetxt(folder / TABLE, table)
    others.append(open_suite("Lite", data_dir=folder))
    assert len({lite.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_subset_is_the_first_simulations(tiny_suite_dir):
    suite = open_suite("Lite", data_dir=tiny_suite_dir)
    few = subset(suite, 4)
    assert few.maps.shape[0] == 60
    assert few.n_simulations == 4
    assert np.shares_memory(few.maps, suite.maps)
    np.testing.assert_array_equal(few.params, suite.params[:4])
    assert subset(suite, None) is suite
    for n in (25, 0):
        with pytest.raises(ValueError, match=f"found 24 simulations, expected at least the {n}"):
            subset(suite, n)


# --------------------------------------------------------------------------------------- bad input
def spoil_maps(change):
    """Return a function that rewrites the maps of a folder, changed."""

    def apply(folder):
        np.save(folder / MAPS, change(np.load(folder / MAPS)))

    return apply


def spoil_pixel(value):
    def change(maps):
        maps[100, 3, 7] = value
        return maps

    return spoil_maps(change)


def spoil_table(change):
    def apply(folder):
        path = folder / TABLE
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return apply


def truncate(folder):
    data = (folder / MAPS).read_bytes()
    (folder / MAPS).write_bytes(data[: len(data) // 2])


def pad(folder):
    with open(folder / MAPS, "ab") as file:
        file.write(b"\0" * 8)


def text_in_place_of_maps(folder):
    (folder / MAPS).write_text("<html>404 not found</html>")


BAD_INPUT = {
    "no maps": (lambda f: (f / MAPS).unlink(), rf"found no maps.*Nbody.*expected {MAPS}"),
    "no table": (lambda f: (f / TABLE).unlink(), rf"found no Lite parameters.*expected {TABLE}"),
    "no folder": (shutil.rmtree, r"cmd: found no such folder, expected"),
    "empty": (lambda f: (f / MAPS).write_bytes(b""), rf"{MAPS}: found no valid \.npy header"),
    "not npy": (text_in_place_of_maps, rf"{MAPS}: found no valid \.npy header .*, expected"),
    "truncated": (truncate, rf"{MAPS}: found 7373\d\d bytes \(truncated\), expected 14746\d\d"),
    "too long": (pad, rf"{MAPS}: found 1474\d+ bytes \(too long\), expected 14746\d\d"),
    "float64": (spoil_maps(np.float64), rf"{MAPS}: found dtype <f8 \(float64\), expected <f4"),
    "big endian": (spoil_maps(lambda m: m.astype(">f4")), rf"{MAPS}: found dtype >f4 .*expected"),
    "objects": (spoil_maps(lambda m: m.astype(object)), rf"{MAPS}: found dtype \|O.*expected <f4"),
    "one map": (spoil_maps(lambda m: m[0]), rf"{MAPS}: found shape \(32, 32\), expected \(15 n"),
    "channels": (spoil_maps(lambda m: m[:, None]), r"found shape \(360, 1, 32, 32\), expected"),
    "not square": (spoil_maps(lambda m: m[:, :, :16]), r"found shape \(360, 32, 16\), expected"),
    "no map": (spoil_maps(lambda m: m[:0]), r"found shape \(0, 32, 32\), expected"),
    "fortran": (spoil_maps(np.asfortranarray), rf"{MAPS}: found Fortran order, expected C"),
    "not 15 n": (spoil_maps(lambda m: m[:-1]), rf"{MAPS}: found 359 maps, expected a mult.* 15"),
    "nan": (spoil_pixel(np.nan), rf"{MAPS}: found nan in map 100 \(simulation 6\), pixel \(3, 7\)"),
    "inf": (spoil_pixel(np.inf), rf"{MAPS}: found inf in map 100 .*expected finite"),
    "zero": (spoil_pixel(0), rf"{MAPS}: found 0\.0 in map 100 .*expected finite and positive"),
    "negative": (spoil_pixel(-2), rf"{MAPS}: found -2\.0 in map 100 .*expected .*positive"),
    "more maps": (spoil_maps(lambda m: m[:-15]), rf"{TABLE}: found 24 rows.*expected 23"),
    "fewer rows": (spoil_table(lambda t: t[:-1]), rf"{TABLE}: found 23 rows.*expected 24.*360 m"),
    "no rows": (spoil_table(lambda t: []), rf"{TABLE}: found no rows, expected"),
    "5 columns": (
        spoil_table(lambda t: [*t[:2], "0.3 0.8 1 1 1", *t[3:]]),
        rf"{TABLE}: line 3: found 5 columns, expected 6: Omega_m",
    ),
    "word": (
        spoil_table(lambda t: ["LH_0 " + t[0], *t[1:]]),
        rf"{TABLE}: line 1: found 'LH_0 .*expected numbers",
    ),
    "nan row": (
        spoil_table(lambda t: [*t[:-1], "0.3 nan 1 1 1 1"]),
        rf"{TABLE}: line 24: found .*, expected finite numbers",
    ),
    "binary table": (lambda f: (f / TABLE).write_bytes(b"\xff\xfe\x00"), f"{TABLE}: found no text"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_clear_error(folder, case):
    """File, found and expected, in one line, and nothing written."""
    spoil, message = BAD_INPUT[case]
    spoil(folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        open_suite("Lite", data_dir=folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(folder.rglob("*")) == before


def test_other_fields_may_be_zero_but_not_nan(tmp_path):
    maps = np.zeros((15, 4, 4), np.float32)
    path, _ = write_suite_files(tmp_path, "SIMBA", maps, np.ones((1, 6)), field="Mstar")
    assert open_suite("SIMBA", data_dir=tmp_path, field="Mstar").maps.max() == 0
    maps[2, 1, 1] = np.nan
    np.save(path, maps)
    with pytest.raises(
        ValueError, match=r"found nan in map 2 .*expected finite and not negative raw"
    ):
        open_suite("SIMBA", data_dir=tmp_path, field="Mstar")


def test_large_file_is_sampled_on_opening_and_read_by_check(folder, monkeypatch):
    monkeypatch.setattr(suites, "_WHOLE_SCAN_BYTES", 200_000)  # a suite of 1.5 MB is now large
    spoil_pixel(-1)(folder)
    assert 100 not in suites._sampled_maps(360)
    suite = open_suite("Lite", data_dir=folder)
    with pytest.raises(ValueError, match=r"found -1\.0 in map 100 \(simulation 6\)"):
        check_suite(suite)
    first = np.load(folder / MAPS)
    first[0] = 0
    np.save(folder / MAPS, first)
    with pytest.raises(ValueError, match="in map 0 "):
        open_suite("Lite", data_dir=folder)


# ------------------------------------------------------------------------------- parameters, split
def test_parameter_ranges_by_suite():
    for name in ("IllustrisTNG", "SIMBA", "Lite"):
        ranges = parameter_ranges(name)
        assert ranges.shape == (6, 2)
        # the labels' minimum and maximum in the published code
        np.testing.assert_array_equal(ranges[:, 0], [0.1, 0.6, 0.25, 0.25, 0.5, 0.5])
        np.testing.assert_array_equal(ranges[:, 1], [0.5, 1.0, 4, 4, 2, 2])
        np.testing.assert_array_equal(parameter_ranges("Nbody_" + name), ranges)
    astrid = parameter_ranges("Nbody_Astrid")
    assert astrid[5].tolist() == [0.25, 4.0]
    np.testing.assert_array_equal(astrid[:5], ranges[:5])
    ranges[0] = 0  # a caller's change stays the caller's
    assert parameter_ranges("Lite")[0, 0] == 0.1
    with pytest.raises(ValueError, match="'EAGLE', expected one of IllustrisTNG, SIMBA, Astrid"):
        parameter_ranges("EAGLE")


def test_mean_surface_density():
    np.testing.assert_allclose(mean_surface_density([0.1, 0.5]), [1.3875e11, 6.9375e11])


def test_split_is_the_published_one():
    state = np.random.get_state()  # noqa: NPY002  the published code uses the global generator
    np.random.seed(1)  # noqa: NPY002
    order = np.arange(1000)
    np.random.shuffle(order)  # noqa: NPY002
    np.random.set_state(state)  # noqa: NPY002
    split = split_simulations(1000, seed=1)
    np.testing.assert_array_equal(split.train, order[:900])
    np.testing.assert_array_equal(split.valid, order[900:950])
    np.testing.assert_array_equal(split.test, order[950:])
    assert split.train[:3].tolist() == [507, 818, 452]  # numpy promises this stream for ever


def test_split_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    split_simulations(100)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("n", [3, 4, 10, 24, 178, 400, 999, 1000])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_simulation_is_in_two_parts(n, seed):
    split = split_simulations(n, seed)
    parts = [split.train, split.valid, split.test]
    assert all(len(part) for part in parts)
    assert sorted(np.concatenate(parts)) == list(range(n))
    maps = [set(map_indices(part)) for part in parts]
    assert sum(map(len, maps)) == len(set.union(*maps)) == 15 * n


def test_split_needs_three():
    with pytest.raises(ValueError, match="found 2 simulations, expected at least 3"):
        split_simulations(2)


def test_maps_of_simulations_and_back():
    assert map_indices([2, 0]).tolist() == [*range(30, 45), *range(15)]
    np.testing.assert_array_equal(simulation_of(map_indices([5, 1])), np.repeat([5, 1], 15))
    assert simulation_of(14) == 0
    assert map_indices([]).shape == (0,)


def test_opening_needs_no_heavy_package():
    """A bare machine with torch can read data: nothing else is pulled in."""
    code = (
        "import sys, cosmolib.runs, cosmolib.suites;"
        "heavy = {'torch', 'MAS_library', 'pysco', 'captum', 'optuna', 'matplotlib', 'sklearn',"
        " 'camb', 'scipy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
