"""Hostile and broken input: every reader accepts it or refuses it with one clear error.

    make fuzz      # more inputs, different each time, and the table of the book

An error is clear if it is a ValueError or OSError raised in cosmolib that names the file. Input
that a reader accepts must be usable.
"""

import datetime
import io
import json
import os
import pickle
import re
import shutil
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosmolib.cuts.grammar import Cut, cut_of, folder_name
from cosmolib.data import checksums, cmd_format
from cosmolib.data import lite as data_lite
from cosmolib.data import tables as data_tables
from cosmolib.results import table as results_module
from cosmolib.study import locks
from cosmolib.study.io import REPOSITORY, is_folder_name, read_json, read_yaml, write_json
from cosmolib.study.profile import load_profile
from cosmolib.study.run import Run
from cosmolib.training import predictions as training_predictions
from cosmolib.training import run as training_run
from cosmolib.training.dataset import prepare_data
from cosmolib.training.fit import fit
from cosmolib.training.networks import build_network
from cosmolib.training.weights import load_published_weights, published_network

EXAMPLES = int(os.environ.get("COSMOLIB_FUZZ_EXAMPLES", 550))  # per reader
TABLE = os.environ.get("COSMOLIB_FUZZ_TABLE")
TRAP = Path("/tmp/cosmolib-trap")  # created if a pickle or a YAML tag is executed
PACKAGE = str(REPOSITORY / "cosmolib"), str(REPOSITORY / "lite")

tried = {}  # reader: [inputs, refused]


class Trap:
    """Create a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def fuzz(*strategies, share=1):
    """Run a test on many inputs, which are always the same unless a table is requested.

    A slow reader gets one in `share` of the inputs.
    """

    def decorate(test):
        options = {"max_examples": EXAMPLES // share, "deadline": None, "database": None}
        options["suppress_health_check"] = list(HealthCheck)
        options["derandomize"] = TABLE is None
        return settings(**options)(given(*strategies)(test))

    return decorate


def attempt(reader, function, path=None):
    """Return the result of a reader, or None if it raised a clear error."""
    count = tried.setdefault(reader, [0, 0])
    count[0] += 1
    try:
        return function()
    except (ValueError, OSError) as error:
        refusal = error
    count[1] += 1
    last = traceback.extract_tb(refusal.__traceback__)[-1]
    assert last.filename.startswith(PACKAGE), f"raised by {last.filename}:{last.lineno}"
    assert path is None or str(path) in str(refusal), f"{refusal} does not name {path}"
    return None


@pytest.fixture(scope="module", autouse=True)
def table():
    yield
    if TABLE:
        names = ("reader", "inputs", "refused")
        rows = [dict(zip(names, (key, *n), strict=True)) for key, n in sorted(tried.items())]
        utc = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        write_json(TABLE, {"rows": rows, "inputs": sum(r["inputs"] for r in rows), "utc": utc})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


# --------------------------------------------------------------------------------------------------
# Broken bytes of a valid file, and files that only look valid
# --------------------------------------------------------------------------------------------------
kinds = st.sampled_from(["set", "cut", "insert", "drop", "double"])
edit = st.tuples(kinds, st.integers(0, 2**31), st.binary(min_size=1, max_size=8))
edits = st.lists(edit, min_size=1, max_size=6)


def broken(data, changes):
    """Apply edits to bytes: overwrite, truncate, insert, delete, repeat."""
    for what, place, new in changes:
        at = place % (len(data) + 1)
        data = {
            "set": data[:at] + new + data[at + len(new) :],
            "cut": data[:at],
            "insert": data[:at] + new + data[at:],
            "drop": data[:at] + data[at + len(new) :],
            "double": data[:at] + data[max(0, at - 64) :],
        }[what]
    return data


words = ["../../etc", "none", "Lite", "/", "1e999", "NaN", "\x00", "kmax:4"]
leaves = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats()
plain = st.recursive(
    leaves | st.text(max_size=12) | st.sampled_from(words),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def torch_bytes(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


np.save(_maps := io.BytesIO(), np.ones((15, 4, 4), np.float32))
MAPS = _maps.getvalue()
shapes = st.lists(st.integers(-2, 2**62), max_size=4).map(tuple)
header = st.fixed_dictionaries({
    "descr": st.sampled_from(["<f4", "<f8", ">f4", "|O", "<U9", "|V4", "f4,f4", "x", 3]),
    "fortran_order": st.booleans() | st.integers(),
    "shape": shapes | st.just((15, 4, 4)) | plain,
})  # fmt: skip
odd = st.sampled_from(["(" * 500, "__import__('os').getcwd()", "{'a':" * 300, "9" * 5000])
headers = header.map(repr) | st.text(max_size=60) | odd


@st.composite
def npy_files(draw):
    """Draw a valid file with edits, or a header of any text before a few numbers."""
    if draw(st.booleans()):
        return broken(MAPS, draw(edits))
    text = draw(headers).encode("latin-1", "replace")[:60000]
    version = draw(st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x09"]))
    width = 2 if version == b"\x01\x00" else 4
    length = draw(st.just(len(text)) | st.integers(0, 2 ** (8 * width) - 1))
    return b"\x93NUMPY" + version + length.to_bytes(width, "little") + text + bytes(960)


@fuzz(npy_files())
def test_maps(folder, data):
    path = folder / "Maps_Mtot_Lite_LH_z=0.00.npy"
    path.write_bytes(data)
    maps = attempt(".npy of maps", lambda: cmd_format.map_file(path), path)
    if maps is not None:
        assert maps.dtype == np.float32
        assert float(maps[-1, -1, -1]) == maps[-1, -1, -1] or np.isnan(maps[-1, -1, -1])


# --------------------------------------------------------------------------------------------------
# Text
# --------------------------------------------------------------------------------------------------
numbers = st.floats().map(repr) | st.integers().map(str) | st.text(max_size=6)
lines = st.lists(
    st.lists(numbers, max_size=9).map(" ".join) | st.sampled_from(["#", ",,", "\x00", "Omega_m"]),
    max_size=6,
).map("\n".join)
TABLE_TEXT = b"# Omega_m sigma_8 A_SN1 A_AGN1 A_SN2 A_AGN2\n" + b"0.3 0.8 1 1 1 1\n" * 3
tables = lines.map(lambda t: t.encode("utf-8", "surrogatepass")) | edits.map(
    lambda changes: broken(TABLE_TEXT, changes)
)


@fuzz(tables)
def test_parameter_tables(folder, data):
    path = folder / "params_LH_Lite.txt"
    path.write_bytes(data)
    table = attempt("table of parameters", lambda: data_tables.read_table(path, "Lite"), path)
    if table is not None:
        assert table.params.shape[1] == 6
        assert np.isfinite(table.params).all()


likely = ["1e12", "4", "0.5", "delta=3", "2,8"] * 3
some = st.sampled_from([*likely, "-1", "0", "nan", "1e999", "8,2", "+.5e1", "\u0663"])
grammar = st.tuples(
    st.sampled_from([""] * 5 + ["nomean:", "white=0.3:", "shot=2:", "white=-1:", "mask:"]),
    st.sampled_from(["kmax:", "kmin:", "band:", "above:", "below:", "none", "none:"]),
    some,
    st.sampled_from([""] * 5 + [":clamp", ":random", ":mean", "@log", "@delta", "@", ":"]),
).map("".join)


@fuzz(grammar | grammar | st.text(max_size=20) | plain)
def test_cuts(text):
    cut = attempt("cut", lambda: Cut.parse(text))
    if cut is not None:
        assert Cut.parse(str(cut)) == cut  # its name reads back
        assert is_folder_name(folder_name(cut))
        assert cut_of(folder_name(cut)) == str(cut)


folders = st.sampled_from(["demo", "Lite", "kmax:4", "above:delta=3:mean"]) | plain | st.text()


@fuzz(folders, folders, folders, st.integers(0, 9) | plain)
def test_names_of_runs(profile, suite, cut, seed):
    run = attempt("name of a run", lambda: Run(profile, suite, cut, "lite", seed, "/a/runs"))
    if run is not None:
        assert Path(os.path.normpath(run.folder)) == run.folder
        assert run.folder.is_relative_to("/a/runs")
        assert len(run.folder.relative_to("/a/runs").parts) == 4


# --------------------------------------------------------------------------------------------------
# YAML and JSON
# --------------------------------------------------------------------------------------------------
TINY = (REPOSITORY / "configs" / "tiny.yaml").read_bytes()
VALUES = read_yaml(REPOSITORY / "configs" / "tiny.yaml")
nasty = st.sampled_from(
    [
        "a: &a [*a]", "!!python/object/apply:os.system ['touch /tmp/cosmolib-trap']",
        "!!python/name:os.system", "name: 2001-99-99", "[" * 600, "{" * 600, "? [a]\n: b", "<<: 3",
        "name: " + "9" * 5000, "\x00", "%YAML 9.9\n---\na: 1",
    ]
)  # fmt: skip
profiles = st.one_of(
    edits.map(lambda changes: broken(TINY, changes)),
    nasty.map(str.encode),
    st.text(max_size=80).map(lambda t: t.encode("utf-8", "surrogatepass")),
    st.tuples(st.sampled_from(sorted(VALUES)), plain).map(
        lambda change: json.dumps({**VALUES, change[0]: change[1]}).encode()
    ),
)


@fuzz(profiles, share=4)
def test_profiles(folder, data):
    path = folder / "profile.yaml"
    path.write_bytes(data)
    profile = attempt("profile (YAML)", lambda: load_profile(path), path)
    if profile is not None:
        assert is_folder_name(profile.name)
        assert all(map(is_folder_name, profile.suites))
    attempt("YAML", lambda: read_yaml(path), path)
    assert not TRAP.exists()


def json_bytes(value):
    return json.dumps(value).encode("utf-8", "surrogatepass")


SMALL = b'{"schema": 1, "cut": "kmax:4", "pid": 1, "since": "2026"}'
texts = st.one_of(
    plain.map(json_bytes),
    st.binary(max_size=60),
    st.sampled_from([b"[" * 20000, b'{"a":' * 5000, b"9" * 5000, b"NaN", b"\xff\xfe"]),
    edits.map(lambda changes: broken(SMALL, changes)),
)


@fuzz(texts)
def test_small_json_files(folder, data):
    maps = folder / "json" / "Maps_Mtot_Lite_LH_z=0.00.npy"
    note = cmd_format.cut_note(maps)
    note.parent.mkdir(exist_ok=True)
    note.write_bytes(data)
    attempt("note of a cut", lambda: cmd_format.cut_of(maps), note)
    attempt("JSON", lambda: read_json(note), note)
    attempt("results table", lambda: results_module.read_table(note), note)
    assert isinstance(attempt("lock file", lambda: locks.owner(note)), str)


@fuzz(texts | st.dictionaries(st.just("a.npy"), plain, max_size=1).map(json_bytes))
def test_manifests_of_checksums(folder, data):
    path = folder / "checksums" / "a.npy"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"abc")
    manifest = path.parent / checksums.MANIFEST
    manifest.write_bytes(data)
    attempt("manifest of checksums", lambda: checksums.verify(path), path.parent)
    assert manifest.read_bytes() == data  # an unreadable manifest is not changed


# --------------------------------------------------------------------------------------------------
# Archives of the embedded suite
# --------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def shipped(folder):
    """Copy the smallest embedded set."""
    data = folder / "lite"
    data.mkdir()
    for name in ("ex-0000.xz", "CosmoAstroSeed_Lite_EX.txt", "manifest.json"):
        shutil.copy(data_lite.DATA / name, data / name)
    return data


ENTRIES = ["file", "first", "sha256", "simulations", "grid", "chunks", "expanded"]


@fuzz(edits | plain | st.tuples(st.sampled_from(ENTRIES), plain))
def test_the_embedded_archive(folder, shipped, change):
    manifest = json.loads((data_lite.DATA / "manifest.json").read_text())
    archive = (data_lite.DATA / "ex-0000.xz").read_bytes()
    packed = manifest["sets"]["EX"]
    if isinstance(change, list) and change and isinstance(change[0], tuple):
        archive = broken(archive, change)
    elif isinstance(change, tuple) and change[0] in packed["chunks"][0]:
        packed["chunks"][0][change[0]] = change[1]
    elif isinstance(change, tuple):
        packed[change[0]] = change[1]
    else:
        manifest["sets"] = change
    (shipped / "manifest.json").write_text(json.dumps(manifest))
    (shipped / "ex-0000.xz").write_bytes(archive)
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    read = lambda: data_lite.expand("Lite", cache, shipped, "EX")  # noqa: E731
    if attempt("embedded archive", read, shipped) is not None:
        maps = cmd_format.map_file(cache / next(cache.glob("*/Lite/*.npy")))
        assert maps.shape == (60, 64, 64)
    elif archive != (data_lite.DATA / "ex-0000.xz").read_bytes():
        assert not list(cache.rglob("*.npy"))


# --------------------------------------------------------------------------------------------------
# Networks, checkpoints, predictions, run folders
# --------------------------------------------------------------------------------------------------
def lite():
    return build_network("lite", 32, 2, 0.0, 2)


@pytest.fixture(scope="module")
def trained(tiny_suite_dir, suite, folder):
    """Train a run and a checkpoint; return the run, its data and its profile."""
    profile = load_profile("tiny", data_dir=str(tiny_suite_dir))
    run = Run("tiny", "Lite", "none", "lite", 1, folder / "runs")
    training_run.train_run(run, profile)
    data = prepare_data(suite, profile)
    fit(lite(), data, profile, seed=1, checkpoint=folder / "checkpoint.pt")
    return run, data, profile


tensors = st.sampled_from(
    [torch.ones(1), torch.ones(0), torch.ones(2, 2).to_sparse(), torch.ones(1, dtype=torch.int64),
     torch.ones(3, dtype=torch.complex64), None, "text", 3, {"a": 1}, [torch.ones(2)]]
)  # fmt: skip


@st.composite
def states(draw, good):
    """Draw the bytes of a state dict with edits or another entry, or of a pickle."""
    kind = draw(st.sampled_from(["edits", "entry", "pickle", "bytes"]))
    if kind == "edits":
        return broken(torch_bytes(good), draw(edits))
    if kind == "entry":
        name = draw(st.sampled_from(sorted(map(str, good))) | st.text(max_size=8))
        return torch_bytes({**good, name: draw(tensors)})
    if kind == "pickle":
        return pickle.dumps(draw(plain | st.just(Trap(TRAP))))
    return draw(st.binary(max_size=200))


with torch.random.fork_rng([]):
    LITE = dict(lite().state_dict())
    O3 = dict(build_network("o3", 32, 2, 0.0, 2).state_dict())


@fuzz(states(O3), share=4)
def test_published_weights(folder, data):
    path = folder / "weights_41.pt"
    path.write_bytes(data)
    network = attempt("published weights", lambda: published_network(path), path)
    if network is not None:
        with torch.no_grad():
            assert network(torch.zeros(1, 1, network.size, network.size))[0].shape[0] == 1
    own = build_network("o3", 32, 2, 0.0, 2)
    attempt("published weights", lambda: load_published_weights(own, path), path)
    assert not TRAP.exists()


PARTS = st.sampled_from(["network", "optimiser", "random", "history", "best"])


@fuzz(states(LITE) | edits | st.tuples(PARTS, plain | tensors), share=2)
def test_checkpoints(folder, trained, change):
    """Other files, broken ones, and a valid checkpoint with one part replaced."""
    good = (folder / "checkpoint.pt").read_bytes()
    if isinstance(change, list):
        change = broken(good, change)
    elif isinstance(change, tuple):
        whole = torch.load(folder / "checkpoint.pt", weights_only=True)
        change = torch_bytes({**whole, change[0]: change[1]})
    path = folder / "broken.pt"
    path.write_bytes(change)
    _, data, profile = trained
    resume = lambda: fit(lite(), data, profile, seed=1, checkpoint=path)  # noqa: E731
    attempt("checkpoint", resume, path)
    assert not TRAP.exists()


FILES = ["config.yaml", "weights.pt", "metrics.json", "predictions.npz"]


@fuzz(st.sampled_from(FILES), edits, plain, st.booleans(), share=4)
def test_run_folders(folder, trained, name, changes, value, whole):
    """A complete run with one broken file or one other value in its configuration."""
    run = trained[0]
    other = replace(run, root=folder / "broken-runs")
    shutil.rmtree(other.folder, ignore_errors=True)
    shutil.copytree(run.folder, other.folder)
    path = other.path(name)
    if whole and name == "config.yaml":
        config = read_yaml(path)
        section = config[("network", "scaling", "profile")[len(changes) % 3]]
        section[sorted(section)[changes[0][1] % len(section)]] = value
        path.write_bytes(json_bytes(config))  # JSON is valid YAML
    elif whole:
        path.write_bytes(json_bytes(value))
    else:
        path.write_bytes(broken(path.read_bytes(), changes))
    found = attempt("folder of a run", lambda: training_run.load_run(other), other.folder)
    if found is not None:
        assert found[0](torch.zeros(1, 1, 32, 32))[0].shape == (1, 2)
    path = other.path("predictions.npz")
    found = attempt("predictions", lambda: training_predictions.read_predictions(path), path)
    if found is not None:
        assert found["mean"].shape == found["truth"].shape


def test_no_pickle_is_executed(folder):
    trap = folder / "sprung"
    maps, arrays, weights = folder / "trap.npy", folder / "trap.npz", folder / "trap.pt"
    np.save(maps, np.array([Trap(trap)], dtype=object), allow_pickle=True)
    np.savez(arrays, mean=np.array([Trap(trap)], dtype=object))
    torch.save({"C01.weight": Trap(trap)}, weights)
    read = training_predictions.read_predictions
    for reader, path in ((cmd_format.map_file, maps), (read, arrays), (published_network, weights)):
        with pytest.raises(ValueError, match=re.escape(str(path))):
            reader(path)
    assert not trap.exists()


def test_every_reader_refused_something():
    if len(tried) < 16:
        pytest.skip("only some of the readers were tried")
    for reader, (_count, refused) in tried.items():
        assert refused or reader == "lock file", reader
