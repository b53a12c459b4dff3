"""`cosmolib check`: the contents of a file or its first fault."""

import numpy as np
import pytest
from conftest import write_suite_files
from test_suites import MAPS, TABLE, spoil_maps, spoil_table

from cosmolib import cli
from cosmolib.data.check import check_path, check_suite
from cosmolib.data.cmd_format import mean_surface_density
from cosmolib.data.suites import available_suites, open_suite
from cosmolib.training.dataset import write_cut_suite

FIDUCIAL = [0.3, 0.8, 1, 1, 1, 1]


def only(path, **options):
    (report,) = check_path(path, **options)
    return report


def write_flat(folder, name, **options):
    """Write one fiducial simulation without structure; return its two paths."""
    maps = np.full((15, 4, 4), mean_surface_density(0.3), np.float32)
    return write_suite_files(folder, name, maps, [FIDUCIAL], **options)


def test_the_report_describes_the_file(suite, tiny_suite_dir):
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
    assert str(only(tiny_suite_dir, suite="Lite", sim_set="LH")) == text


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
    assert available_suites() == ["Lite", "Nbody_Lite"]  # those of the repository
    assert available_suites(sim_set="CV") == ["Lite", "Nbody_Lite"]
    assert available_suites(sim_set="BE") == available_suites(field="Mgas") == []
    write_flat(tmp_path / "2D_maps" / "data" / "SIMBA", "SIMBA")
    write_flat(tmp_path / "Nbody", "Nbody_Astrid")
    write_flat(tmp_path, "Astrid", sim_set="CV")
    write_flat(tmp_path, "IllustrisTNG", field="Mgas")
    monkeypatch.setenv("COSMOLIB_DATA", str(tmp_path))
    assert available_suites()[2:] == ["Nbody_Astrid", "SIMBA"]
    for name in available_suites(tmp_path):
        open_suite(name, data_dir=tmp_path)
    assert available_suites(tmp_path, sim_set="CV") == ["Astrid"]
    assert available_suites(tmp_path / "nowhere") == []


# ----------------------------------------------------------------------------------------- faults
@pytest.mark.parametrize("spoil", ["order", "units"])
def test_maps_of_other_cosmologies_are_detected(folder, spoil):
    if spoil == "order":
        spoil_table(lambda rows: rows[1:] + rows[:1])(folder)
    else:
        spoil_maps(lambda maps: maps * np.float32(1.5))(folder)
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
