"""Shards of Lite: resumed after a kill, reserved for one process, combined to CMD files."""

import argparse
import dataclasses
import fcntl
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from cosmolib.data import lite
from cosmolib.data.suites import open_suite, split_simulations
from cosmolib.data.tables import FIDUCIAL
from cosmolib.study.io import read_json
from lite import generate, validate

TABLE = lite.DATA / lite.TABLE


def fake_simulation(params, seed, settings=None, proxy=None, variants=()):
    """Return twin maps that depend on the row, like `simulate.simulate_one`."""
    rng = np.random.default_rng(int(seed))
    unit = params[0] * 2.775e11 * 5
    maps = np.exp(rng.normal(size=(15, 8, 8)))
    maps *= unit / maps.reshape(3, -1).mean(axis=1).repeat(5)[:, None, None]
    spectra = dict.fromkeys(("k", "power_nbody", "power_hydro"), np.ones(3))
    return spectra | {"nbody": maps.astype(np.float32), "hydro": (maps * 1.01).astype(np.float32)}


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(generate, "simulate_one", fake_simulation)


def simulate(folder, rows, **options):
    return generate.simulate_shards(folder, TABLE, rows, progress=lambda line: None, **options)


@pytest.mark.parametrize(("name", "rows"), [("CV", 27), ("1P", 25), ("EX", 4)])
def test_tables_of_the_small_sets(name, rows):
    """The files are from `set_table`, and have seeds that are not in the hypercube."""
    path = lite.DATA / lite.table_name(name)
    assert path.read_text() == generate.set_table(name)
    params, seeds = generate.read_table(path)
    assert params.shape == (rows, 6)
    assert params[0].tolist() == list(FIDUCIAL.values())
    changed = (params != params[0]).sum(axis=1).tolist()
    assert changed == {"CV": [0] * 27, "1P": [0] + [1] * 24}.get(name, changed)
    others = [lite.DATA / lite.table_name(s) for s in (*lite.SETS, "other") if s != name]
    assert not set(seeds) & set(np.concatenate([generate.read_table(p)[1] for p in others]))
    assert len(set(seeds)) == (27 if name == "CV" else 1)


def test_the_other_suite_has_the_cosmologies_of_the_test_part():
    path = lite.DATA / lite.table_name("other")
    assert path.read_text() == generate.set_table("other")
    params, seeds = generate.read_table(path)
    known, known_seeds = generate.read_table(TABLE)
    np.testing.assert_array_equal(params, known[np.sort(split_simulations(1000).test)])
    assert len({*seeds} - {*known_seeds}) == 50


@pytest.mark.parametrize("part", ["strong", "other"])
def test_parts_have_their_own_suites_and_settings(fake, tmp_path, part):
    """They use the recipe of their part, and only their suites are written."""
    table = lite.DATA / lite.table_name(part)
    made = generate.simulate_shards(tmp_path, table, [0, 1], part=part, progress=lambda line: None)
    assert made == generate.assemble(tmp_path, tmp_path / "suite", part=part) == 2
    names = {path.name for path in (tmp_path / "suite").iterdir()}
    assert names == {"strong": {"Nbody_Lite", "Lite_strong"}, "other": {"Nbody_other"}}[part]
    used = read_json(tmp_path / "settings.json")
    changed = {"strong": "proxy", "other": "settings"}[part]
    usual = {"proxy": generate.PROXY, "settings": generate.SETTINGS}[changed]["LH"]
    assert used[changed] != dataclasses.asdict(usual)
    with pytest.raises(ValueError, match="found shards of other settings"):
        simulate(tmp_path, [2])


def test_shards_of_a_small_set_have_other_names(fake, tmp_path):
    folder, table = tmp_path / "shards", lite.DATA / lite.table_name("EX")
    lines = []
    made = generate.simulate_shards(folder, table, range(4), part="EX", progress=lines.append)
    assert made == 4
    assert generate.count_shards(folder) == 0  # none of LH
    assert lines[3].startswith("EX_3: ")
    assert generate.assemble(folder, tmp_path / "suite", part="EX") == 4
    suite = open_suite("Nbody_Lite", data_dir=tmp_path / "suite", sim_set="EX")
    assert suite.params_path.name == "params_EX_Nbody_Lite.txt"
    np.testing.assert_array_equal(suite.params, generate.read_table(table)[0])


def test_simulate_reads_the_table_of_its_set():
    parser = argparse.ArgumentParser()
    generate.add_arguments(parser)
    with pytest.raises(ValueError, match=r"--rows 3:30: expected within 0:25, .*Lite_1P.txt"):
        generate.run_from_args(parser.parse_args(["--set", "1P", "--rows", "3:30"]))
    with pytest.raises(ValueError, match="--extend: found --set CV, expected LH or strong"):
        generate.run_from_args(parser.parse_args(["--set", "CV", "--extend"]))
    with pytest.raises(ValueError, match="--rows '5': expected first:last"):
        generate.run_from_args(parser.parse_args(["--rows", "5"]))


def test_shards_resume_and_assemble_in_row_order(fake, tmp_path):
    folder = tmp_path / "shards"
    assert simulate(folder, [2, 0]) == 2
    assert simulate(folder, range(4)) == 2
    assert generate.assemble(folder, tmp_path / "suite") == 4
    suite = open_suite("Lite", data_dir=tmp_path / "suite")
    params, _ = generate.read_table(TABLE)
    np.testing.assert_array_equal(suite.params, params[:4])
    expected = fake_simulation(params[3], 3)["hydro"]
    np.testing.assert_array_equal(suite.maps[45:60], expected)


def test_a_row_that_another_process_simulates_is_skipped(fake, tmp_path):
    path = generate.shard_path(tmp_path, 0)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # flock belongs to the open file: it also blocks the same process
        assert simulate(tmp_path, [0]) == 0
    assert simulate(tmp_path, [0]) == 1


def _work_slowly(folder, started):
    def slow(*args, **kwargs):
        started.set()
        time.sleep(60)

    generate.simulate_one = slow
    simulate(folder, [0])


def test_a_killed_process_leaves_no_partial_shard(fake, tmp_path):
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=_work_slowly, args=(tmp_path, started))
    process.start()
    assert started.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not list(tmp_path.glob("*.npz"))
    assert simulate(tmp_path, [0]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"LH_0000.npz", "settings.json"}


def test_new_shards_are_appended_to_an_existing_suite(fake, tmp_path):
    simulate(tmp_path / "first", range(2))
    generate.assemble(tmp_path / "first", tmp_path / "shipped")
    simulate(tmp_path / "more", [2])
    shipped = [open_suite(name, tmp_path / "shipped") for name in generate.MADE["LH"]]
    count = generate.assemble(tmp_path / "more", tmp_path / "grown", begin=shipped)
    assert count == 3
    before = open_suite("Lite", data_dir=tmp_path / "shipped")
    after = open_suite("Lite", data_dir=tmp_path / "grown")
    np.testing.assert_array_equal(after.maps[:30], before.maps)
    np.testing.assert_array_equal(after.maps[30:], fake_simulation(after.params[2], 2)["hydro"])
    np.testing.assert_array_equal(after.params, generate.read_table(TABLE)[0][:3])


def test_one_folder_has_one_setting(fake, tmp_path):
    simulate(tmp_path, [0])
    other = dataclasses.replace(generate.SETTINGS["LH"], courant=4.0)
    with pytest.raises(ValueError, match="settings.json: found shards of other settings"):
        simulate(tmp_path, [1], settings=other)
    assert not generate.shard_path(tmp_path, 1).exists()


def test_assemble_names_the_missing_shard(fake, tmp_path):
    simulate(tmp_path, [0, 2])
    with pytest.raises(FileNotFoundError, match="LH_0001.npz: no such shard"):
        generate.assemble(tmp_path, tmp_path / "out", count=3)
    assert not (tmp_path / "out").exists()
    assert generate.assemble(tmp_path, tmp_path / "out") == 1


def test_lattice_check_detects_a_lattice_with_more_information():
    rng = np.random.default_rng(0)
    cosmology = rng.uniform([0.1, 0.6], [0.5, 1.0], size=(60, 2))
    noise = rng.normal(scale=0.2, size=(60, 15, 6))
    signal = 10 ** (noise + cosmology[:, None, :1] + cosmology[:, None, 1:])
    sigma_8 = [0, 0, 0, 1, 1, 1] * cosmology[:, None, 1:]
    clean = 10 ** (0.2 * noise + cosmology[:, None, :1] + sigma_8)
    report = validate.lattice_check({"shipped": signal, "same": signal, "leaky": clean}, cosmology)
    assert report["difference"]["same"]["Omega_m"] == [0, 0, 0]
    gain, low, _ = report["difference"]["leaky"]["Omega_m"]
    assert gain > 0.1
    assert low > 0
