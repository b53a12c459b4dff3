"""The benchmarks of a full-size file and of attribution, at a small size."""

import contextlib
import io
import json
import shutil

import attribution
import camels
import pytest
import tables

SIMULATIONS = 6


def options(folder, *more):
    return [
        "--simulations", str(SIMULATIONS), "--grid", "64", "--folder", str(folder / "files"),
        "--table", str(folder / "table.json"), *more,
    ]  # fmt: skip


def bench(folder, *more, code=0):
    """Run the benchmark with all stages in this process and return its printed text."""

    def here(name, files, size):
        row = camels.run_stage(name, files, files / "cut", size)
        return {**row, "provenance": camels.provenance()}

    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        patch.setattr(camels, "measure", here)
        try:
            found = camels.main(options(folder, *more))
        except SystemExit as stop:
            found = stop.code
    assert found == code, err.getvalue()
    return (err if code else out).getvalue()


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The folder of a benchmark of all stages."""
    folder = tmp_path_factory.mktemp("bench")
    bench(folder, "--keep")
    return folder


def test_every_stage_has_a_row(measured):
    table = json.loads((measured / "table.json").read_text())
    assert [row["stage"] for row in table["rows"]] == list(camels.STAGES)
    assert table["file_bytes"] == 4 * SIMULATIONS * 15 * 64**2
    assert table["hardware"]["cores"] >= 1
    for row in table["rows"]:
        assert 0 < row["seconds"] <= row["seconds_in_all"]
        assert 100 < row["base_mb"] <= row["peak_mb"] < 5000
        assert row["above_base_mb"] == pytest.approx(row["peak_mb"] - row["base_mb"])
        ratio = row["above_base_mb"] * 1e6 / table["file_bytes"]
        assert row["ratio_to_file"] == pytest.approx(ratio)
        assert row["provenance"]["versions"]["torch"]
    maps = {row["stage"]: row["maps"] for row in table["rows"]}
    whole = 15 * SIMULATIONS
    expected = {"base": 0, "check": whole, "cut": whole, "prepare": whole, "train": whole - 30}
    expected |= {"evaluate": 15, "attribute": 4, "saliency": 15}  # one test simulation
    assert {name: maps[name] for name in expected} == expected


def test_an_interrupted_benchmark_resumes(measured, tmp_path):
    """Only missing rows are measured, and a partially written file is removed."""
    shutil.copytree(measured, tmp_path, dirs_exist_ok=True)
    table, missing = json.loads((tmp_path / "table.json").read_text()), ("base", "saliency")
    table["rows"] = [row for row in table["rows"] if row["stage"] not in missing]
    (tmp_path / "table.json").write_text(json.dumps(table))
    partial = tmp_path / "files" / "IllustrisTNG" / ".Maps.0123.npy"
    partial.write_bytes(b"half")
    printed = bench(tmp_path, "--keep")
    assert not partial.exists()
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    after = {row["stage"]: row for row in rows}
    assert list(after) == list(camels.STAGES)
    assert all(after[row["stage"]] == row for row in table["rows"])
    assert [name for name in camels.STAGES if f"\n{name}: " in printed] == list(missing)
    assert "every stage has a row" in bench(tmp_path, "--keep")


def test_a_stage_runs_in_a_new_process(tmp_path):
    row = camels.measure("base", tmp_path, (SIMULATIONS, 64))
    assert row["base_mb"] > 100
    assert row["provenance"]["versions"]["torch"]


def test_a_folder_of_other_files_is_refused(tmp_path):
    """CMD's own files have the same names as those of the benchmark."""
    maps = tmp_path / "files" / "IllustrisTNG" / camels.FILE
    maps.parent.mkdir(parents=True)
    maps.write_bytes(b"real")
    error = bench(tmp_path, "--only", "check", code=1)
    assert "contains IllustrisTNG; expected an empty folder" in error
    assert maps.read_bytes() == b"real"
    assert not (tmp_path / "table.json").exists()


def test_the_benchmark_of_attribution_writes_the_table_of_the_page(tmp_path):
    """Both sides attribute two maps once."""
    out = tmp_path / "attribution.json"
    attribution.main(["--maps", "2", "--repeats", "1", "--threads", "1", "--out", str(out)])
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 5
    for row in rows:
        pair = row["maps_per_second"], row["reference_maps_per_second"]
        assert row["ratio"] == pytest.approx(pair[0] / pair[1])
        assert row["maps"] == 4
    to_one_percent = rows[3]
    assert to_one_percent["complete"] >= 0.5
    text = tables.attribution(json.loads(out.read_text()))
    assert f"| {to_one_percent['maps_per_second']:.1f} |" in text
