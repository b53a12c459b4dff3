"""Profiles: read from YAML 1.2, checked completely, one line per fault."""

import json
import pickle
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from cosmolib.study.io import read_json, read_yaml, write_yaml
from cosmolib.study.profile import Profile, load_profile

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
SHIPPED = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
TINY = read_yaml(CONFIGS / "tiny.yaml")


@pytest.fixture
def write(tmp_path):
    """Write the profile tiny with changes and return its path; `text` replaces whole lines."""

    def write(drop=(), text=None, **changes):
        path = tmp_path / "mine.yaml"
        write_yaml(path, {k: v for k, v in (TINY | changes).items() if k not in drop})
        for key, line in (text or {}).items():
            old = path.read_text()
            path.write_text(re.sub(rf"(?m)^{key}:.*$", f"{key}: {line}", old))
            assert path.read_text() != old
        return path

    return write


def lines_of(*arguments, **overrides):
    """Return the lines of the error that `load_profile` raises."""
    with pytest.raises(ValueError, match=": ") as error:
        load_profile(*arguments, **overrides)
    return str(error.value).splitlines()


# ------------------------------------------------------------------------------------------- files
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profiles(name):
    """Values, including cuts, are written in canonical form, as they appear in folder names."""
    path = CONFIGS / f"{name}.yaml"
    profile = load_profile(name)
    assert profile.name == name
    values = read_yaml(path)
    assert profile.model_dump() == values
    jsonschema.validate(values, read_json(CONFIGS / "profile.schema.json"))
    first = path.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=profile.schema.json"


def test_the_schema_is_that_of_the_model():
    """CONTRIBUTING.md contains the command that writes it."""
    schema = Profile.model_json_schema()
    assert read_json(CONFIGS / "profile.schema.json") == json.loads(json.dumps(schema))
    assert schema["required"] == list(Profile.model_fields)  # no hidden default
    assert all(len(entry["description"]) > 5 for entry in schema["properties"].values())
    assert schema["properties"]["storage"]["enum"] == ["float32", "float16", "disk"]
    assert schema["additionalProperties"] is False


def test_a_profile_by_path_and_by_name(write, tmp_path, monkeypatch):
    path = write(epochs=7)
    expected = load_profile("tiny", epochs=7)
    assert load_profile(path) == load_profile(str(path)) == expected
    assert pickle.loads(pickle.dumps(expected)) == expected
    (tmp_path / "configs").mkdir()
    path.rename(tmp_path / "configs" / "2025.yaml")
    monkeypatch.chdir(tmp_path)
    # papermill and the workflow convert 2025 to a number
    assert load_profile(2025) == load_profile("2025") == expected


def test_missing_profile_lists_names(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"configs/dem\.yaml: found no.*demo, reference, t"):
        load_profile("dem")
    with pytest.raises(FileNotFoundError, match=r"nope\.yaml: found no such profile"):
        load_profile(tmp_path / "nope.yaml")


# -------------------------------------------------------------------------------------------- YAML
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10), ("-1", -1), ("3e-3", 0.003), ("1.", 1.0), ("1.0E+2", 100.0), ("-.inf", -np.inf),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("'10'", "10"),
        ("1:30", "1:30"), ("yes", "yes"), ("off", "off"), ("'2025-01-01'", "2025-01-01"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text, value, tmp_path):
    (tmp_path / "x.yaml").write_text(f"\ufeffkey: {text}\n", encoding="utf-8")
    found = read_yaml(tmp_path / "x.yaml")
    assert found == {"key": value}
    assert type(found["key"]) is type(value)
    write_yaml(tmp_path / "x.yaml", {"a": [found], "b": {"c": 1e-20, "d": "é\n: #", "a": []}})
    assert read_yaml(tmp_path / "x.yaml")["a"] == [found]
    assert list(read_yaml(tmp_path / "x.yaml")["b"].values()) == [1e-20, "é\n: #", []]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "found a list, expected a flat mapping"),
        ("a: [1\n", "line 2: found no valid YAML .expected ',' or ']'"),
        ("a: 1\nb: 2\n# c\na: 3\n", 'line 4: found no valid YAML .*duplicate key "a"'),
        ("a: !!python/name:os.system x", "line 1: found no valid YAML"),
        ("a: 1\n---\nb: 1\n", "line 2: found no valid YAML"),
        ("a: " + "9" * 5000, "found no valid YAML"),
        (b"a: \xff", "found no valid YAML"),
    ],
)
def test_files_that_are_not_a_mapping(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    (line,) = lines_of(path)
    assert re.match(rf"{re.escape(str(path))}: {message}", line)


# -------------------------------------------------------------------------------------------- keys
FAULTS = [
    ({"name": "../elsewhere"}, "'name': found '../elsewhere', expected a folder name"),
    *(({"name": name}, "'name': found .*, expected a folder name") for name in (
        "", "a..b", ".git", "-p", "a/b", "a b", "é", "con", "NUL.txt", "x.", "a\n", "a" * 101,
    )),
    ({"plugins": [1]}, "'plugins', entry 1: found 1, expected a valid string"),
    ({"suites": []}, "'suites': found .., expected at least 1 item"),
    ({"suites": ["Lite", "..\\x"]}, "'suites', entry 2: suite: found .*, expected one of Illus"),
    ({"field": "HI"}, "'field': found 'HI', expected Mtot, as embedded"),
    ({"sim_set": "BE"}, "'sim_set': found 'BE', expected LH or CV or 1P or EX, as embedded"),
    ({"n_simulations": 2}, "'n_simulations': found 2, expected greater than or equal to 3"),
    ({"tuning_simulations": 1001}, "'tuning_simulations': found 1001, expected at most 1000"),
    ({"scaling": "sqrt"}, "'scaling': found 'sqrt', expected 'log', 'asinh' or 'linear'"),
    ({"cuts": ["kmax:4"]}, "'cuts': found ..kmax:4'., expected 'none' among them"),
    ({"cuts": ["none", "../../none"]}, "'cuts', entry 2: cannot read cut '../../none'"),
    ({"cuts": ["none", "kmax:4", "kmax:4.0@linear"]}, "'cuts': found 'kmax:4' more than once"),
    ({"architecture": "resnet"}, "'architecture': found 'resnet', expected one of o3, k4s2, lite"),
    ({"targets": ["Omega_b"]}, "'targets', entry 1: found 'Omega_b', expected 'Omega_m', 'sigma_8"),
    ({"targets": ["A_SN1"]}, "'targets': found .'A_SN1'., expected Omega_m or sigma_8 among them"),
    ({"dropout": float("nan")}, "'dropout': found nan, expected a finite number"),
    ({"dropout": 1.0}, "'dropout': found 1.0, expected less than 1"),
    ({"seeds": 1}, "'seeds': found 1, expected a valid list"),
    ({"epochs": True}, "'epochs': found True, expected a valid integer"),
    ({"max_lr": 0}, "'max_lr': found 0, expected greater than 0"),
    *(({"known_answer_cuts": ["none", cut]}, "'known_answer_cuts', entry 2: found .*, expected n")
      for cut in ("above:1e12", "kmax:4@log", "nomean:none")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"), FAULTS, ids=[str(fault[0])[:40] for fault in FAULTS]
)
def test_a_fault_is_one_line_with_the_key(profile, changes, message):
    with pytest.raises(ValueError, match=f"^profile tiny: key {message}[^\n]*$"):
        profile.replace(**changes)


def test_all_faults_at_once(write):
    path = write(epochs=0, cuts=["none", "kmax"], suits=["Lite"], zz=1, drop=("seeds", "betas"))
    over = f"override of {path}"
    expected = [
        (path, "key 'cuts', entry 2: cannot read cut 'kmax'"), (over, "key 'hidden': found 0"),
        (path, "key 'epochs': found 0"), (path, "found unknown key 'suits', expected one of: suit"),
        (path, "found unknown key 'zz', expected one of: name, plugins,"),
        (over, "found unknown key 'hiden', expected one of: hidden"),
        (path, "found no key seeds, betas, expected every profile key"),
    ]  # fmt: skip
    for line, (source, message) in zip(lines_of(path, hidden=0, hiden=3), expected, strict=True):
        assert line.startswith(f"{source}: {message}")


@pytest.mark.parametrize(
    ("text", "name"),
    [("2025", "2025"), ("'2025-01-01'", "2025-01-01"), ("v1.2=b", "v1.2=b"), ("yes", "yes"),
     ("a" * 100, "a" * 100)],
)  # fmt: skip
def test_names_that_look_like_numbers(write, text, name):
    assert load_profile(write(text={"name": text})).name == name


def test_cuts_are_kept_in_canonical_form(write):
    path = write(cuts=["none", "above:1e12"], controls=["mask:above:1.0e12"],
                 known_answer_cuts=["band:1.0,2"])  # fmt: skip
    profile = load_profile(path)
    assert profile.cuts == ["none", "above:1e12:clamp"]
    assert profile.controls == ["mask:above:1e12"]
    assert profile.known_answer_cuts == ["band:1,2"]


def test_valid_values():
    assert type(load_profile("tiny", n_simulations=None, max_lr=1).max_lr) is float
    # The limits of a suite that is not embedded are unknown before it is opened.
    load_profile("tiny", data_dir="/cmd", field="HI", sim_set="SB28", n_simulations=1024)
    load_profile("tiny", suites=["Nbody_SIMBA"], field="Mcdm")
