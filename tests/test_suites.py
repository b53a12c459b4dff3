"""Open, check and split suites; every kind of bad input; the reports of `cosmolib check`."""

import shutil
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
from conftest import write_suite_files

from cosmolib import cli
from cosmolib.data import lite, suites
from cosmolib.data.check import check_path, check_suite
from cosmolib.data.cmd_format import PARAMETERS, mean_surface_density
from cosmolib.data.suites import (
    available_suites,
    map_indices,
    open_suite,
    split_simulations,
    subset,
    write_suite,
)
from cosmolib.data.tables import (
    FIDUCIAL,
    camels_columns,
    off_fiducial,
    other_parameters,
    parameter_ranges,
    read_table,
    register_suite,
)
from cosmolib.training.dataset import write_cut_suite

MAPS = "Maps_Mtot_Lite_LH_z=0.00.npy"
FIDUCIAL_ROW = [list(FIDUCIAL.values())]
FLAT = np.full((15, 4, 4), mean_surface_density(0.3), np.float32)
TABLE = "params_LH_Lite.txt"


@contextmanager
def refused(match):
    """Expect an error in one line."""
    with pytest.raises((ValueError, FileNotFoundError), match=match) as caught:
        yield caught
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------- contract
def test_open_suite(suite, tiny_params):
    assert (suite.maps.shape, suite.maps.dtype) == ((360, 32, 32), np.float32)
    assert isinstance(suite.maps, np.memmap)
    np.testing.assert_allclose(suite.params, tiny_params, atol=1e-5)
    assert (suite.name, suite.field, suite.sim_set) == ("Lite", "Mtot", "LH")
    assert (suite.n_simulations, suite.grid, suite.box_size) == (24, 32, 25.0)


@pytest.mark.parametrize("name", ["IllustrisTNG", "Nbody_IllustrisTNG"])
@pytest.mark.parametrize(
    "layout", [".", "{name}", "2D_maps/data/{below}", "CMD/2D_maps/data/{below}"]
)
@pytest.mark.parametrize("table", ["params_LH_{}.txt", "params_{}.txt"])
def test_every_layout_of_cmd(tmp_path, name, layout, table):
    below = "Nbody" if name.startswith("Nbody") else name
    place = tmp_path / layout.format(name=name, below=below)
    params = [[0.3, 0.8, 1, 2, 1, 1.5]]
    _, path = write_suite_files(place, name, FLAT, params)
    path.rename(place / table.format(name))
    suite = open_suite(name, data_dir=tmp_path)
    assert suite.name == name
    assert suite.params.tolist() == params


def test_the_old_table_name_is_valid_for_lh_only(tmp_path):
    _, path = write_suite_files(tmp_path, "SIMBA", FLAT, FIDUCIAL_ROW, sim_set="CV")
    path.rename(tmp_path / "params_SIMBA.txt")
    with refused(r"params_SIMBA\.txt.*expected params_CV_SIMBA\.txt"):
        open_suite("SIMBA", data_dir=tmp_path, sim_set="CV")


def test_the_environment_variable_sets_the_folder(tiny_suite_dir, tmp_path, monkeypatch):
    """The embedded suites do not depend on it."""
    write_suite_files(tmp_path, "SIMBA", FLAT, FIDUCIAL_ROW)
    monkeypatch.setenv("COSMOLIB_DATA", str(tmp_path))
    assert open_suite("SIMBA").maps_path.parent == tmp_path
    monkeypatch.setattr("cosmolib.data.lite.expand", lambda name, sim_set: tiny_suite_dir)
    assert open_suite("Nbody_Lite").maps_path.parent == tiny_suite_dir
    monkeypatch.delenv("COSMOLIB_DATA")
    with pytest.raises(FileNotFoundError, match=r"SIMBA.*COSMOLIB_DATA.*https://"):
        open_suite("SIMBA")


def test_the_fingerprint_identifies_the_data(folder):
    lite = open_suite("Lite", data_dir=folder)
    assert lite.fingerprint == open_suite("Lite", data_dir=folder).fingerprint
    others = [open_suite("Nbody_Lite", data_dir=folder), subset(lite, 23)]
    table = np.loadtxt(folder / TABLE)
    table[3, 5] += 0.01
    np.savetxt(folder / TABLE, table)
    others.append(open_suite("Lite", data_dir=folder))
    assert len({lite.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_subset_is_the_first_simulations(suite):
    few = subset(suite, 4)
    assert (len(few.maps), few.n_simulations) == (60, 4)
    assert np.shares_memory(few.maps, suite.maps)
    np.testing.assert_array_equal(few.params, suite.params[:4])
    assert subset(suite, None) is suite
    for n in (25, 0):
        with pytest.raises(ValueError, match=f"found 24 simulations, .* the requested {n}"):
            subset(suite, n)


# --------------------------------------------------------------------------------------- bad input
def spoil_maps(change):
    """Return a function that changes the maps of a folder."""
    return lambda f: np.save(f / MAPS, change(np.load(f / MAPS)))


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


BAD_INPUT = {
    "no maps": (lambda f: (f / MAPS).unlink(), rf"found no maps.*Nbody.*expected {MAPS}"),
    "no table": (lambda f: (f / TABLE).unlink(), rf"found no Lite parameters.*expected {TABLE}"),
    "no folder": (shutil.rmtree, r"cmd: found no such folder, expected"),
    "float64": (spoil_maps(np.float64), rf"{MAPS}: found <f8 \(float64\) of .*expected <f4"),
    "objects": (spoil_maps(lambda m: m.astype(object)), r"found .* Python objects in dtype"),
    "not square": (spoil_maps(lambda m: m[:, :, :16]), r"of shape \(360, 32, 16\) in .*, expected"),
    "no map": (spoil_maps(lambda m: m[:0]), r"found .* of shape \(0, 32, 32\) in .*, expected"),
    "fortran": (spoil_maps(np.asfortranarray), rf"{MAPS}: found .* in Fortran order, .* in C"),
    "not 15 n": (spoil_maps(lambda m: m[:-1]), r"of shape \(359, .*expected .* \(15 n, N, N\)"),
    "nan": (spoil_pixel(np.nan), rf"{MAPS}: found nan in map 100 \(simulation 6\), pixel \(3, 7\)"),
    "zero": (spoil_pixel(0), rf"{MAPS}: found 0\.0 in map 100 .*expected finite and positive"),
    "negative": (spoil_pixel(-2), rf"{MAPS}: found -2\.0 in map 100 .*expected .*positive"),
    "more maps": (spoil_maps(lambda m: m[:-15]), rf"{TABLE}: found 24 rows.*expected 23"),
    "fewer rows": (spoil_table(lambda t: t[:-1]), rf"{TABLE}: found 23 rows.*expected 24.*360 m"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gives_one_error(folder, case):
    """The error has file, value and what is allowed in one line, and no file is written."""
    spoil, message = BAD_INPUT[case]
    spoil(folder)
    before = sorted(folder.rglob("*"))
    with refused(message) as caught:
        open_suite("Lite", data_dir=folder)
    assert str(folder) in str(caught.value)
    assert sorted(folder.rglob("*")) == before


def test_large_file_is_sampled_on_opening_and_read_by_check(folder, monkeypatch):
    monkeypatch.setattr(suites, "_WHOLE_SCAN_BYTES", 200_000)  # 1.5 MB now count as large
    spoil_pixel(-1)(folder)
    suite = open_suite("Lite", data_dir=folder)
    assert 100 not in suites._sampled_maps(suite.maps)
    with pytest.raises(ValueError, match=r"found -1\.0 in map 100 \(simulation 6\)"):
        check_suite(suite)
    spoil_maps(lambda maps: maps * (np.arange(360) > 0)[:, None, None].astype(np.float32))(folder)
    with pytest.raises(ValueError, match="in map 0 "):
        open_suite("Lite", data_dir=folder)


# ------------------------------------------------------------------------------------------ tables
def camels_1p():
    """Return the 1P table of IllustrisTNG in CAMELS: 28 x 5 rows in physical units."""
    columns = camels_columns()
    low, fiducial, high = columns[["MinVal", "FiducialVal", "MaxVal"]].to_numpy().T
    rows = np.tile(fiducial, (28, 5, 1))
    values = np.stack([low, (low + fiducial) / 2, fiducial, (fiducial + high) / 2, high])
    rows[np.arange(28), :, np.arange(28)] = values.T
    return rows.reshape(140, 28)


def as_lines(rows, **columns):
    """Return the lines of a table, optionally with columns of names and seeds."""
    names, seeds = columns.get("names", [""] * len(rows)), columns.get("seeds", [""] * len(rows))
    numbers = [" ".join(f"{value:.8g}" for value in row) for row in rows]
    return "".join(f"{a} {b} {c}\n" for a, b, c in zip(names, numbers, seeds, strict=True))


HEADER = " ".join(PARAMETERS)
ROWS = [[0.3, 0.8, 1.5, 2, 1, 0.6], [0.2, 0.7, 0.5, 3, 1.5, 1]]
PLAIN = as_lines(ROWS)
NAMED = {"names": ["LH_0", "LH_1"], "seeds": [7, 8]}
GOOD_TABLES = {
    "plain": PLAIN,
    "comment names": f"# {HEADER}\n{PLAIN}",
    "Windows": f"\ufeff{HEADER}\n\n{PLAIN}\n".replace("\n", "\r\n"),
    "comments": f"# made on 2024-05-01\n{PLAIN.splitlines()[0]} # first\n# next\n"
    f"{PLAIN.splitlines()[1]}",
    "commas": f"{HEADER}\n{PLAIN}".replace(" \n", "\n").replace("\n ", "\n").replace(" ", ", "),
    "other order": f"# {' '.join(reversed(PARAMETERS))}\n{as_lines(np.fliplr(ROWS))}",
    "CAMELS' names": "Omega0 sigma8 ASN1 AAGN1 ASN2 AAGN2\n" + PLAIN,
    "row numbers": f",{','.join(PARAMETERS)}\n0,0.3,0.8,1.5,2,1,0.6\n1,0.2,0.7,0.5,3,1.5,1\n",
    "CosmoAstroSeed": f"#Name {HEADER} seed\n{as_lines(ROWS, **NAMED)}",
}


@pytest.mark.parametrize("case", GOOD_TABLES)
def test_every_way_to_write_a_table(tmp_path, case):
    path = tmp_path / "params.txt"
    path.write_bytes(GOOD_TABLES[case].encode())
    table = read_table(path, "SIMBA", "LH")
    assert table.params.tolist() == ROWS
    assert (table.seeds is not None) == (case == "CosmoAstroSeed")


DECIMAL = "numbers with decimal points, no decimal commas"
BAD_TABLES = {
    "empty": ("", "found no rows of numbers .* expected a row of 6"),
    "names alone": (HEADER, "found no rows of numbers .*begins with 'Omega_m sigma_8"),
    "5 columns": (PLAIN + "0.3 0.8 1 1 1", "line 3: found '' for A_AGN2, expected finite"),
    "7 everywhere": ("0 0.3 0.8 1 1 1 1", "found no names over 7 columns, expected Om"),
    "name twice": (HEADER.replace("N2", "N1") + f"\n{PLAIN}", "the names .*A_SN1 A_AGN1 A_SN1"),
    "short names": (f"# s8 Om SN1 SN2 AGN1 AGN2\n{PLAIN}", "found the names s8 Om"),
    "CAMELS' six": (
        f"{' '.join(camels_columns()['ParamName'][:6])}\n0.3 0.8 3.6 1 7.4 20",
        r"found the names .*WindEnergyIn1e51erg.*relative to the fiducial model, or all 28 columns",
    ),
    "nan": (PLAIN + "0.3 nan 1 1 1 1", f"line 3: found 'nan' for sigma_8, .* {DECIMAL}"),
    "too large": (PLAIN + "0.3 1e999 1 1 1 1", "line 3: found '1e999' for sigma_8, exp"),
    "full width": (PLAIN + "0.3 0.8 \uff11 1 1 1", "line 3: found '\uff11'"),
    "decimal commas": (PLAIN + "0,3 0,8 1,0 1 1 1", f"line 3: found '3 0' for sigma_8.*{DECIMAL}"),
    "order": (f"#Name {HEADER}\n{as_lines(ROWS, names=['LH_10', 'LH_2'])}", "'LH_2' for Name, exp"),
    "seed": (f"#Name {HEADER} seed\nLH_0 0.3 0.8 1 1 1 1 1.5", "line 2: found '1.5' for seed"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_table_that_is_refused(tmp_path, case):
    text, message = BAD_TABLES[case]
    path = tmp_path / "params.txt"
    path.write_bytes(text.encode())
    with refused(message) as caught:
        read_table(path, "SIMBA", "LH")
    assert str(caught.value).startswith(f"{path}: ")


# --------------------------------------------------------------------------------- units, by set
NAMES_28 = " ".join(camels_columns()["ParamName"])


@pytest.mark.parametrize("suite", ["IllustrisTNG", "Nbody_IllustrisTNG"])
@pytest.mark.parametrize("form", ["numbers", "names", "names and seeds", "other order"])
def test_the_28_columns_of_camels_become_amplitudes(tmp_path, suite, form):
    rows, path = camels_1p(), tmp_path / "params.txt"
    assert as_lines(rows[2:3]).startswith(" 0.3 0.8 3.6 1 7.4 20 0.049 0.6711 0.9624 ")
    named = {"names": [f"1P_p{i}" for i in range(140)], "seeds": range(140)}
    path.write_text({
        "numbers": as_lines(rows),
        "names": f"{NAMES_28}\n{as_lines(rows)}",
        "names and seeds": f"#Name {NAMES_28} seed\n{as_lines(rows, **named)}",
        "other order": f"{' '.join(NAMES_28.split()[::-1])}\n{as_lines(np.fliplr(rows))}",
    }[form])  # fmt: skip
    table = read_table(path, suite, "1P")
    assert table.params[2].tolist() == [0.3, 0.8, 1, 1, 1, 1]
    np.testing.assert_allclose(table.params[10:15, 2], [0.25, 0.625, 1, 2.5, 4])
    np.testing.assert_allclose(table.params[20:25, 4], [0.5, 0.75, 1, 1.5, 2])
    np.testing.assert_allclose(table.params[25:30, 5], [0.5, 0.75, 1, 1.5, 2])
    np.testing.assert_allclose(table.others, rows[:, 6:])
    off = off_fiducial(table.params, table.others)
    expected = np.repeat(np.arange(28), 5)[:, None] == np.arange(28)
    expected[2::5] = expected[70:72] = False  # row 70: the lowest value is the fiducial one
    np.testing.assert_array_equal(off, expected)  # also for a black hole seed of 8e-5


def sobol():
    low, high = camels_columns()[["MinVal", "MaxVal"]].to_numpy().T
    return np.random.default_rng(0).uniform(low, high, (8, 28))


def changed(rows, column, value):
    rows = np.array(rows, float)
    rows[0, column] = value
    return rows


IN_UNITS = [[0.3, 0.8, 3.6, 1, 7.4, 20]]
NOT_IN_SET = {
    "1P of SIMBA": ("SIMBA", "1P", camels_1p(), "found 28 .* the 6 .* not known for SIMBA"),
    "28 amplitudes": (
        "IllustrisTNG", "1P", changed(camels_1p(), 4, 1.0),
        "found A_SN2 = 0.135135 .*expected 0.5 to 2 in set",
    ),
    "28 in LH": ("IllustrisTNG", "LH", sobol(), "OmegaBaryon = .*expected the fiducial value in"),
    "two at a time": (
        "IllustrisTNG", "1P", changed(camels_1p(), 7, 0.5),
        "found Omega_m = 0.1 .*expected no more than one parameter off",
    ),
    "LH in units": ("IllustrisTNG", "LH", IN_UNITS, "found A_SN2 = 7.4 .*0.5 to 2 in set"),
    "CV in units": ("SIMBA", "CV", IN_UNITS, "found A_SN1 = 3.6 .*expected the fiducial value"),
    "EX in units": ("SIMBA", "EX", IN_UNITS, "found A_SN1 = 3.6 .*expected 0, 1 or 100"),
    "LH of Astrid": ("SIMBA", "LH", [[0.3, 0.8, 1, 1, 1, 3.5]], "found A_AGN2 = 3.5 .*0.5 to 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_IN_SET)
def test_a_table_with_other_units_or_of_another_set_is_refused(tmp_path, case):
    suite, sim_set, rows, message = NOT_IN_SET[case]
    path = tmp_path / "params.txt"
    path.write_text(as_lines(np.array(rows, float)))
    with refused(message):
        read_table(path, suite, sim_set)
    if np.shape(rows)[1] == 6:
        with pytest.raises(ValueError, match=message):
            write_suite(tmp_path, suite, FLAT, rows, sim_set=sim_set)
        assert list(tmp_path.iterdir()) == [path]


def test_sobol_sets_keep_the_six_and_record_the_others(tmp_path):
    rows = sobol()
    maps = mean_surface_density(rows[:, 0]).repeat(15)[:, None, None] * np.ones((120, 4, 4))
    write_suite_files(tmp_path, "IllustrisTNG", maps.astype(np.float32), rows, sim_set="SB28")
    np.savetxt(tmp_path / "params_SB28_IllustrisTNG.txt", rows)
    suite = subset(open_suite("IllustrisTNG", tmp_path, sim_set="SB28"), 5)
    np.testing.assert_allclose(suite.params[:, 2:], rows[:5, 2:6] / [3.6, 1, 7.4, 20])
    np.testing.assert_array_equal(suite.others, rows[:5, 6:])
    report = check_suite(suite)
    assert "28 columns in CAMELS' physical units, converted to 6" in report
    assert f"5 simulations vary further parameters: {', '.join(other_parameters())}" in report


# --------------------------------------------------------------------------------------- box size
BOXES = {  # suite, set, comment of the table, folder -> box or message
    "declared": ("SIMBA", "LH", "box_size = 50 Mpc/h", "cmd", 50.0),
    "declared, labelled": ("SIMBA", "SB35", "box_size: 50", "L50n512", 50.0),
    "own": ("EAGLE", "LH", "box_size = 33.3", "cmd", 33.3),
    "label in the folder": ("SIMBA", "LH", "", "L50n512", "found 25 Mpc/h, 50 Mpc/h for suite"),
    "second generation": ("IllustrisTNG", "SB35", "", "cmd", "found no box size for suite Illu"),
    "unknown suite": ("EAGLE", "LH", "", "cmd", "box_size = 50 Mpc/h' in params_LH_EAGLE.txt"),
    "twice": ("SIMBA", "LH", "box_size = 25\n box_size = 50", "cmd", "found 25 Mpc/h, 50 Mpc"),
    "no number": ("SIMBA", "LH", "box_size = 5.0.0", "cmd", "found nan Mpc/h for suite"),
}


@pytest.mark.parametrize("case", BOXES)
def test_the_box_belongs_to_suite_and_set(tmp_path, case):
    name, sim_set, comment, folder, expected = BOXES[case]
    folder = tmp_path / folder
    write_suite_files(folder, name, FLAT, FIDUCIAL_ROW, sim_set=sim_set, header=comment)
    with nullcontext() if isinstance(expected, float) else refused(expected):
        assert open_suite(name, folder, sim_set=sim_set).box_size == expected


def test_a_box_is_kept_with_the_files(tmp_path, no_plugins):
    """It is kept in a suite, in a cut suite and in the fingerprint."""
    suite = write_suite(tmp_path / "a", "Toy", 2 * FLAT, FIDUCIAL_ROW, box_size=50.0)
    assert suite.box_size == write_cut_suite(suite, "kmax:1", tmp_path / "b").box_size == 50.0
    assert "box 50 Mpc/h, pixel 12.5 Mpc/h" in check_suite(suite)  # and its mass agrees
    other = write_suite(tmp_path / "c", "Toy", 2 * FLAT, FIDUCIAL_ROW)
    assert other.box_size == 25.0
    assert other.fingerprint != suite.fingerprint
    write_suite_files(tmp_path / "d", "Toy", FLAT, FIDUCIAL_ROW)
    register_suite("Toy", parameter_ranges("Lite"), box_size=12.5)
    assert open_suite("Toy", tmp_path / "d").box_size == 12.5
    with pytest.raises(ValueError, match="suite 'Toy': found .* the box size -1 Mpc"):
        register_suite("Toy", parameter_ranges("Lite"), box_size=-1)


# ------------------------------------------------------------------------------- parameters, split
def test_parameter_ranges_by_suite():
    # minimum and maximum of the labels in the published code
    published = np.transpose([[0.1, 0.6, 0.25, 0.25, 0.5, 0.5], [0.5, 1.0, 4, 4, 2, 2]])
    for name in ("IllustrisTNG", "SIMBA", "Lite", "Nbody_SIMBA"):
        np.testing.assert_array_equal(parameter_ranges(name), published)
    published[5] = 0.25, 4
    np.testing.assert_array_equal(parameter_ranges("Nbody_Astrid"), published)
    parameter_ranges("Lite")[0] = 0  # must not change the stored ranges
    assert parameter_ranges("Lite")[0, 0] == 0.1
    with pytest.raises(ValueError, match="'EAGLE', expected one of IllustrisTNG, SIMBA, Astrid"):
        parameter_ranges("EAGLE")


def test_split_is_the_published_one():
    state = np.random.get_state()  # noqa: NPY002  the published code uses the global generator
    np.random.seed(1)  # noqa: NPY002
    order = np.arange(1000)
    np.random.shuffle(order)  # noqa: NPY002
    np.random.set_state(state)  # noqa: NPY002
    split = split_simulations(1000, seed=1)
    assert [*map(len, (split.train, split.valid, split.test))] == [900, 50, 50]
    np.testing.assert_array_equal(np.concatenate([split.train, split.valid, split.test]), order)
    assert split.train[:3].tolist() == [507, 818, 452]  # numpy guarantees this stream


@pytest.mark.parametrize("n", [3, 24, 999])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_simulation_is_in_two_parts(n, seed):
    split = split_simulations(n, seed)
    parts = [split.train, split.valid, split.test]
    assert all(len(part) for part in parts)
    assert sorted(np.concatenate(parts)) == list(range(n))
    maps = [set(map_indices(part)) for part in parts]
    assert sum(map(len, maps)) == len(set.union(*maps)) == 15 * n
    with pytest.raises(ValueError, match="found 2 simulations, expected at least 3"):
        split_simulations(2)


# ------------------------------------------------------------------------------ `cosmolib check`
def only(path, **options):
    (report,) = check_path(path, **options)
    return report


def write_flat(folder, name, **options):
    """Write one fiducial simulation without structure; return its two paths."""
    return write_suite_files(folder, name, FLAT, FIDUCIAL_ROW, **options)


def test_the_report_describes_the_file(suite, tiny_suite_dir, capsys):
    report = only(tiny_suite_dir / MAPS)
    text = str(report)
    assert report.problem is None
    for part in (
        "field Mtot, suite Lite, set LH", "360 maps of 32 x 32 pixels, float32\n",
        "table of 24 simulations", "(CMD's own LH has 1000)", suite.fingerprint,
        "whole, nothing wrong found", f"to {suite.maps.max():.4g}",
    ):  # fmt: skip
        assert part in text
    assert str(check_path(tiny_suite_dir)[0]) == text
    assert cli.main(["check", str(tiny_suite_dir), "--suite", "Lite", "--set", "LH"]) == 0
    assert capsys.readouterr() == (f"{text}\n", "")


@pytest.mark.parametrize(("field", "zero"), [("Mtot", False), ("Mcdm", False), ("HI", True)])
def test_only_matter_is_everywhere(tmp_path, field, zero):
    path, _ = write_flat(tmp_path, "IllustrisTNG", field=field)
    maps = np.load(path)
    for value, fine in ((maps[0, 0, 0], True), (0, zero), (-1, False)):
        maps[3, 2, 1] = value
        np.save(path, maps)
        problem = only(tmp_path).problem
        found = f"found {value:.1f} in map 3 (simulation 0), pixel (2, 1)"
        assert problem is None if fine else found in problem


def test_a_twin_without_a_table_uses_that_of_the_hydrodynamic_suite(tmp_path):
    _, own = write_flat(tmp_path / "Nbody_SIMBA", "Nbody_SIMBA")
    _, table = write_flat(tmp_path / "SIMBA", "SIMBA")
    assert open_suite("Nbody_SIMBA", data_dir=tmp_path).params_path == own
    own.unlink()
    assert open_suite("Nbody_SIMBA", data_dir=tmp_path).params_path == table
    assert all(report.problem is None for report in check_path(tmp_path))
    table.unlink()  # a hydrodynamic suite never uses the table of its twin
    write_flat(tmp_path / "Nbody_SIMBA", "Nbody_SIMBA")
    with pytest.raises(FileNotFoundError, match="no SIMBA parameters"):
        open_suite("SIMBA", data_dir=tmp_path)


def test_available_suites(tiny_suite_dir, tmp_path, monkeypatch):
    assert available_suites(tiny_suite_dir) == ["Lite", "Nbody_Lite"]
    monkeypatch.delenv("COSMOLIB_DATA", raising=False)
    assert available_suites() == [*lite.SUITES]  # those of the repository
    assert available_suites(sim_set="CV") == ["Lite", "Nbody_Lite"]
    assert available_suites(sim_set="CV") == ["Lite", "Nbody_Lite"]
    assert available_suites(sim_set="BE") == available_suites(field="Mgas") == []
    write_flat(tmp_path / "2D_maps" / "data" / "SIMBA", "SIMBA")
    write_flat(tmp_path / "Nbody", "Nbody_Astrid")
    write_flat(tmp_path, "Astrid", sim_set="CV")
    write_flat(tmp_path, "IllustrisTNG", field="Mgas")
    monkeypatch.setenv("COSMOLIB_DATA", str(tmp_path))
    assert available_suites()[4:] == ["Nbody_Astrid", "SIMBA"]
    for name in available_suites(tmp_path):
        open_suite(name, data_dir=tmp_path)
    assert available_suites(tmp_path, sim_set="CV") == ["Astrid"]
    assert available_suites(tmp_path / "nowhere") == []


# ----------------------------------------------------------------------------------------- faults
OTHER_ROWS = spoil_table(lambda rows: rows[1:] + rows[:1])
OTHER_UNITS = spoil_maps(lambda maps: maps * np.float32(1.5))


@pytest.mark.parametrize("spoil", [OTHER_ROWS, OTHER_UNITS], ids=["rows", "units"])
def test_maps_of_other_cosmologies_are_detected(folder, spoil):
    spoil(folder)
    suite = open_suite("Lite", data_dir=folder)
    with pytest.raises(ValueError, match=rf"{MAPS}: found .*mean density.*{TABLE}"):
        check_suite(suite)


def test_all_files_are_checked_if_one_has_a_fault(folder, capsys):
    spoil_maps(lambda maps: maps[:-1])(folder)
    reports = check_path(folder)
    assert [report.problem is None for report in reports] == [False, True]
    assert "field Mtot, suite Lite, set LH" in str(reports[0])  # the kind is known from the name
    assert "NOT usable" in str(reports[0])
    assert cli.main(["check", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out.count("suite Nbody_Lite") == 1
    assert "of shape (359, 32, 32) in C order, 1470592 bytes, expected <f4: (15 n, N, N)" in err
    assert err.count("\n") == 1


def test_other_files_are_refused(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nope: found no such file"):
        check_path(tmp_path / "nope")
    with pytest.raises(FileNotFoundError, match=r"found 2 other files, .*_SIMBA_<set>_"):
        check_path(folder, suite="SIMBA")
    for name in (f"{MAPS}.part", TABLE):
        (folder / name).touch()
        with pytest.raises(FileNotFoundError, match=r"found 1 other files, expected Maps_<field>_"):
            check_path(folder / name)


# ------------------------------------------------------------------------------------- cut suites
@pytest.mark.parametrize("cut", ["kmax:1", "above:delta=0:clamp", "mask:above:3e11"])
def test_a_cut_file_is_recognised(folder, tmp_path, cut):
    cut_suite = write_cut_suite(open_suite("Lite", data_dir=folder), cut, tmp_path / "out")
    assert cut_suite.cut == cut
    report = only(tmp_path / "out")
    assert report.problem is None
    assert f"cut from the raw maps: {cut}" in report.found
    note = cut_suite.maps_path.with_suffix(".cut.json")
    note.write_text("[]")
    with pytest.raises(ValueError, match=r"cut\.json: found no cut, expected"):
        open_suite("Lite", data_dir=tmp_path / "out")
    note.unlink()  # without the note, the file counts as raw
    if cut == "kmax:1":
        with pytest.raises(ValueError, match="expected finite and positive raw pixels"):
            open_suite("Lite", data_dir=tmp_path / "out")
