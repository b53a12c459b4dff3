"""The bench of a full-size file, at a small size: rows that a reader can trust, resumable."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cosmolib.checks import check_path
from cosmolib.suites import open_suite

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))
import stage  # noqa: E402

STAGES = ["make", "check", "cut", "prepare_half", "chain_disk"]


def bench(folder, *arguments):
    command = [sys.executable, str(ROOT / "benchmarks" / "camels.py"), "--simulations", "24"]
    command += ["--grid", "64", "--folder", str(folder / "files"), "--keep"]
    command += ["--table", str(folder / "table.json"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "table.json").read_text()), done.stdout


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    table, _ = bench(folder, "--only", *STAGES)
    return folder, table


def test_every_stage_has_a_row(measured):
    _, table = measured
    assert [row["stage"] for row in table["rows"]] == STAGES
    for row in table["rows"]:
        assert row["maps"] > 0
        assert row["seconds"] > 0
        assert 0 < row["base_mb"] < row["base_mb"] + row["above_base_mb"] < 5000
    assert table["file_bytes"] == 4 * 24 * 15 * 64**2
    assert table["hardware"]["cores"] >= 1
    assert table["provenance"]["versions"]["torch"]


def test_the_file_is_one_of_cmd_and_no_map_is_twice_in_it(measured):
    folder, _ = measured
    (raw,) = check_path(folder / "files" / "IllustrisTNG")
    (cut,) = check_path(folder / "files" / "cut")
    assert raw.problem is cut.problem is None
    maps = open_suite("IllustrisTNG", data_dir=folder / "files").maps
    assert len({m.tobytes() for m in np.array(maps)}) == len(maps)


def test_what_is_measured_is_not_measured_again(measured):
    folder, table = measured
    again, printed = bench(folder, "--only", "check")
    assert printed.count("\n") == 2  # the stage and its result, nothing else
    for old, new in zip(table["rows"], again["rows"], strict=True):
        assert (old == new) == (old["stage"] != "check")


def test_the_table_of_the_book_is_that_of_the_bench(measured):
    folder, table = measured
    text = stage.camels_table(folder / "table.json")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 1 + len(STAGES)
    for line, row in zip(lines[1:], json.loads((folder / "table.json").read_text())["rows"],
                         strict=True):  # fmt: skip
        assert row["what"] in line
        assert f"| {row['above_base_mb']:.0f} |" in line
    assert "not measured" in stage.camels_table(folder / "nothing.json").lower()
