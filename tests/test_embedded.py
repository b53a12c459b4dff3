"""Compression and expansion of the embedded suite."""

import shutil

import numpy as np
import pytest

from cosmolib.data import lite
from cosmolib.data.suites import open_suite
from cosmolib.study.io import read_json
from lite import pack


@pytest.fixture(scope="module")
def twins():
    """Return log-normal twin maps over five decades, (30, 16, 16)."""
    rng = np.random.default_rng(1)
    gravity = 10 ** rng.normal(11.2, 0.8, size=(30, 16, 16))
    feedback = gravity * 10 ** rng.normal(0, 0.03, size=gravity.shape)
    return gravity.astype(np.float32), feedback.astype(np.float32)


@pytest.fixture
def packed(twins, tmp_path):
    """Pack two simulations; return the folders of sources and chunks."""
    source, data = tmp_path / "source", tmp_path / "data"
    for suite, maps in (("Nbody_Lite", twins[0]), ("Lite", twins[1])):
        (source / suite).mkdir(parents=True)
        np.save(source / suite / f"Maps_Mtot_{suite}_LH_z=0.00.npy", maps)
    data.mkdir()
    shutil.copy(lite.DATA / lite.TABLE, data)
    pack.pack(source, data)
    return source, data


@pytest.fixture
def with_ex(packed, twins):
    """Add the small set EX: four simulations, with one pixel increased by 0.7 dex."""
    source, data = packed
    gravity, feedback = (np.concatenate([maps, maps[::-1]]) for maps in twins)
    feedback[7, 3, 3] = gravity[7, 3, 3] * 10**0.7
    for suite, maps in (("Nbody_Lite", gravity), ("Lite", feedback)):
        np.save(source / suite / f"Maps_Mtot_{suite}_EX_z=0.00.npy", maps)
    shutil.copy(lite.DATA / lite.table_name("EX"), data)
    pack.pack(source, data, part="EX")
    return source, data


def test_quantisation_is_as_fine_as_documented(twins):
    gravity, feedback = lite.decode(pack.encode(*twins), 30, 16)
    # The factor of a map shifts all pixels equally; the steps appear as scatter within a map.
    error = np.log10(gravity / twins[0])
    assert np.ptp(error, axis=(1, 2)).max() <= float(lite.STEP) * 1.001
    error = np.log10(feedback / gravity) - np.log10(twins[1] / twins[0])
    assert np.ptp(error, axis=(1, 2)).max() <= float(lite.RATIOS["LH"][0]) * 1.001
    found, true = (np.mean(maps, (2, 3), dtype=float) for maps in ((gravity, feedback), twins))
    np.testing.assert_allclose(found, true, rtol=1e-6)


@pytest.mark.parametrize("bad", [0.0, -1e11, np.nan, np.inf, 1e20])
def test_maps_out_of_range_are_refused(twins, bad):
    gravity = twins[0].copy()
    gravity[3, 4, 5] = bad
    with pytest.raises(ValueError, match="expected (0 to 255|finite numbers)"):
        pack.encode(gravity, twins[1])


def test_cmd_files_are_expanded_once(packed, tmp_path):
    source, data = packed
    folder = lite.expand("Lite", tmp_path / "cache", data)
    suite = open_suite("Lite", data_dir=folder)
    assert (suite.maps.shape, suite.maps.dtype) == ((30, 16, 16), np.float32)
    assert suite.params[1].tolist() == [0.3026, 0.9394, 3.42001, 3.96137, 1.03311, 1.1607]
    stamp = suite.maps_path.stat().st_mtime_ns
    assert lite.expand("Lite", tmp_path / "cache", data) == folder
    assert suite.maps_path.stat().st_mtime_ns == stamp
    before = (data / "lite-0000.xz").read_bytes()
    pack.pack(folder.parent, data)  # expanded maps are packed without further loss
    assert (data / "lite-0000.xz").read_bytes() == before


def test_a_small_set_is_expanded_alone_and_as_packed(with_ex, tmp_path):
    source, data = with_ex
    twins = [
        open_suite(name, lite.expand(name, tmp_path / "cache", data, sim_set="EX"), sim_set="EX")
        for name in ("Lite", "Nbody_Lite")
    ]
    assert not list((tmp_path / "cache").rglob("*_LH_*"))
    assert twins[0].maps.shape == (60, 16, 16)
    assert twins[0].params[:, 2:].tolist() == [[1] * 4, [1, 100, 1, 1], [100, 1, 1, 1], [0] * 4]
    made = [np.load(source / suite.name / suite.maps_path.name) for suite in twins]
    error = np.log10(twins[0].maps / twins[1].maps) - np.log10(made[0] / made[1])
    assert np.ptp(error, axis=(1, 2)).max() <= float(lite.RATIOS["LH"][0]) * 1.001


def test_a_small_set_does_not_change_the_hypercube(packed, request, tmp_path):
    source, data = packed
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    folder = lite.expand("Lite", tmp_path / "cache", data)
    request.getfixturevalue("with_ex")
    manifest = read_json(data / lite.MANIFEST)
    assert list(manifest.pop("sets")) == ["EX"]
    (tmp_path / "old.json").write_bytes(before[lite.MANIFEST])
    assert manifest == read_json(tmp_path / "old.json")
    assert (data / "lite-0000.xz").read_bytes() == before["lite-0000.xz"]
    assert lite.expand("Lite", tmp_path / "cache", data) == folder
    # A longer hypercube keeps the small sets.
    pack.pack(source, data)
    assert list(read_json(data / lite.MANIFEST)["sets"]) == ["EX"]


def test_a_small_set_must_be_whole(with_ex):
    source, data = with_ex
    for suite in lite.PARTS["EX"]:
        path = source / suite / f"Maps_Mtot_{suite}_EX_z=0.00.npy"
        np.save(path, np.load(path)[:45])
    with pytest.raises(ValueError, match="found 3 simulations, expected 4, the rows of CosmoAstro"):
        pack.pack(source, data, part="EX")


def test_a_strong_suite_is_stored_as_its_ratio_to_the_shipped_twin(
    packed, twins, tmp_path, monkeypatch
):
    """Its own gravity-only maps may differ slightly from the shipped ones."""
    source, data = packed
    monkeypatch.setenv("COSMOLIB_CACHE", str(tmp_path / "cache"))
    gravity, ratio = twins[0] * np.float32(1.01), (twins[1] / twins[0]) ** 2
    for suite, maps in (("Nbody_Lite", gravity), ("Lite_strong", gravity * ratio)):
        (source / suite).mkdir(exist_ok=True)
        np.save(source / suite / f"Maps_Mtot_{suite}_LH_z=0.00.npy", maps)
    before = read_json(data / lite.MANIFEST)
    found = pack.pack(source, data, part="strong")
    assert read_json(data / lite.MANIFEST) == before | {"sets": {"strong": found}}
    cache = tmp_path / "cache"
    strong, base = (
        open_suite(name, lite.expand(name, cache, data)) for name in ("Lite_strong", "Nbody_Lite")
    )
    np.testing.assert_array_equal(strong.params, base.params)
    error = np.log10(strong.maps / base.maps) - np.log10(ratio)
    assert np.ptp(error, axis=(1, 2)).max() <= float(lite.RATIOS["strong"][0]) * 1.001
    means = strong.maps.mean(axis=(1, 2), dtype=float), (gravity * ratio).mean(axis=(1, 2))
    np.testing.assert_allclose(*means, rtol=1e-5)
    with pytest.raises(ValueError, match="suite Lite_strong, set CV is not embedded"):
        lite.expand("Lite_strong", cache, data, "CV")


def test_unknown_and_absent_sets_and_suites(packed, tmp_path):
    for name, data, sim_set, message in (
        ("Lite", lite.DATA, "SB", "suite Lite, set SB is not embedded, .* CV, 1P, EX"),
        ("Lite", packed[1], "CV", "found no valid set CV .*`python -m lite`"),
        ("Heavy", lite.DATA, "LH", "suite Heavy, set LH is not embedded, expected Lite, Nb"),
        ("Lite", tmp_path / "nowhere", "LH", "comes with a clone"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            lite.expand(name, tmp_path / "cache", data, sim_set)


def test_shipped_manifest_covers_every_chunk_and_is_small():
    manifest = read_json(lite.DATA / lite.MANIFEST)
    sets = {"LH": manifest, **manifest["sets"]}
    assert tuple(sets) == tuple(lite.PARTS)
    for part in sets.values():
        assert sum(chunk["simulations"] for chunk in part["chunks"]) == part["simulations"]
    files = {chunk["file"] for part in sets.values() for chunk in part["chunks"]}
    assert {path.name for path in lite.DATA.glob("*.xz")} == files
    sizes = [(lite.DATA / file).stat().st_size for file in files]
    assert max(sizes) < 40e6
    assert sum(sizes) < 65e6
    # With another hash, every user would have to expand 1000 simulations again.
    assert manifest["simulations"] == 1000
    assert lite.expand("Lite").parent.name == "lite-7bc675f8da5c"
