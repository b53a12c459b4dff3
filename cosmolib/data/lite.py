"""The embedded suite: how Lite and its gravity-only twin are shipped, and how they are expanded.

``data/lite/`` holds log10 maps, quantised and compressed without further loss:

- ``Nbody_Lite``: ``level = round(log10(map) / STEP) - LEVEL_ZERO`` in one byte, so a pixel is known
  to +-0.02 dex; the residuals of the MED predictor of lossless JPEG (ITU-T T.87) go through LZMA.
- ``Lite``: the ratio to ``Nbody_Lite`` in steps of ``RATIO_STEP`` dex, so the *difference* of the
  twins is ten times finer than either.
- one factor a map and suite, which restores the mean surface density exactly.

One chunk holds 100 simulations of one set: the latin hypercube LH, or one of the small sets CV, 1P
and EX, which are shipped whole and expanded apart. Expansion uses table look-ups and single
products only, no sum or power that could round differently on another processor, so that the
SHA-256 of the expanded files is the same everywhere and can be checked.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import reprlib
from decimal import Decimal
from pathlib import Path

import numpy as np

from cosmolib.study.io import (
    REPOSITORY,
    atomic_path,
    check_writable,
    read_json,
    sweep,
)
from cosmolib.study.locks import LOCK, held

DATA = REPOSITORY / "data" / "lite"
TABLE = "CosmoAstroSeed_IllustrisTNG_L25n256_LH.txt"  # CAMELS' own, MIT licence
MANIFEST = "manifest.json"
STEP = Decimal("0.04")  # dex
RATIO_STEP = Decimal("0.004")  # dex
LEVEL_ZERO = 200  # level 0 is 1e8 (Msun/h)/(Mpc/h)^2, level 255 is 1.6e18
RATIO_ZERO = 128
# at A_SN1 = 100 a void gains up to 0.64 dex, while no pixel can lose more than the baryons
RATIO_ZEROS = {"EX": 64}  # other sets: RATIO_ZERO
CHUNK = 100  # simulations
MOST = 100_000  # simulations that a manifest may speak of
MAPS = 15  # a simulation
SUITES = ("Lite", "Nbody_Lite")
SETS = ("LH", "CV", "1P", "EX")  # `lite.generate.set_table` says what they are


def embedded_suites():
    """Names of the suites that come with the repository."""
    return SUITES


def embedded_sets():
    """Names of the sets of simulations that both embedded suites have."""
    return SETS


def packed_files():
    """Names of the files in ``data/lite/`` that the suites are expanded from."""
    sets = [_read_manifest(DATA / MANIFEST, sim_set)["chunks"] for sim_set in SETS]
    return [MANIFEST, *map(table_name, SETS), *(chunk["file"] for one in sets for chunk in one)]


def table_name(sim_set):
    """File of a set's parameters and seeds in ``data/lite/``."""
    return TABLE if _known(sim_set) == "LH" else f"CosmoAstroSeed_Lite_{sim_set}.txt"


def _known(sim_set):
    if sim_set not in SETS:
        raise ValueError(f"set {sim_set!r} is not embedded, expected one of {', '.join(SETS)}")
    return sim_set


def _powers_of_ten(step, zero):
    """``10^(step (i - zero))`` for a byte i, correctly rounded: (256,) float64."""
    return np.array([float(Decimal(10) ** (step * (i - zero))) for i in range(256)])


def _predict(left, up, corner):
    """MED predictor of ITU-T T.87: the median of left, up and left + up - corner."""
    gradient = left + up - corner
    return np.clip(gradient, np.minimum(left, up), np.maximum(left, up))


def _levels(residuals):
    """Invert `_residuals`, pixel by pixel and over all maps at once."""
    n, size, _ = residuals.shape
    residuals = np.ascontiguousarray(np.moveaxis(residuals, 0, -1)).astype(np.int16)
    padded = np.zeros((size + 1, size + 1, n), np.int16)
    for i in range(size):
        for j in range(size):
            predicted = _predict(padded[i + 1, j], padded[i, j + 1], padded[i, j])
            padded[i + 1, j + 1] = (predicted + residuals[i, j]) & 255
    return np.ascontiguousarray(np.moveaxis(padded[1:, 1:], -1, 0)).astype(np.uint8)


def decode(blob, n_maps, grid, ratio_zero=RATIO_ZERO):
    """Expand a chunk made by `encode` with the same ``ratio_zero``.

    Returns
    -------
    gravity, feedback : ndarray, shape (n_maps, grid, grid), float32
    """
    payload = lzma.decompress(blob)
    pixels = n_maps * grid**2
    expected = 2 * pixels + 16 * n_maps
    if len(payload) != expected:
        raise ValueError(f"chunk expands to {len(payload)} bytes, expected {expected}")
    coded = np.frombuffer(payload, np.uint8, 2 * pixels).reshape(2, n_maps, grid, grid)
    factors = np.frombuffer(payload, "<f8", offset=2 * pixels).reshape(2, n_maps, 1, 1)
    gravity = _powers_of_ten(STEP, -LEVEL_ZERO)[_levels(coded[0])]
    feedback = gravity * _powers_of_ten(RATIO_STEP, ratio_zero)[coded[1]]
    gravity *= factors[0]
    feedback *= factors[1]
    return gravity.astype(np.float32), feedback.astype(np.float32)


def _table_rows(path):
    lines = [line.split() for line in path.read_text().splitlines()]
    return [" ".join(line[1:7]) for line in lines if line and not line[0].startswith("#")]


def _maps_name(suite, sim_set):
    return f"Maps_Mtot_{suite}_{sim_set}_z=0.00.npy"


def cache_folder():
    """Where suites are expanded: ``$COSMOLIB_CACHE`` or the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("COSMOLIB_CACHE") or platformdirs.user_cache_dir("cosmolib"))


def expand(name, cache_dir=None, data=DATA, sim_set="LH"):
    """Expand one set of an embedded suite into CMD-format files, once.

    Both twins are expanded together, and no other set. Every chunk is checked by its SHA-256 before
    it is read, and the expanded maps before they get their name, so a file that is there is whole.

    Parameters
    ----------
    name : str
        "Lite" or "Nbody_Lite".
    cache_dir : path, optional
        Overrides `cache_folder`.
    data : path
        The shipped chunks.
    sim_set : str
        One of `embedded_sets`.

    Returns
    -------
    Path
        Folder with ``Maps_Mtot_<name>_<set>_z=0.00.npy`` and ``params_<set>_<name>.txt``.

    Raises
    ------
    ValueError
        If the name or the set is not embedded, or a chunk is damaged.
    FileNotFoundError
        If the repository's ``data/lite`` is not there.
    OSError
        If the cache cannot be written: names the variable that moves it.
    """
    if name not in SUITES:
        raise ValueError(f"{name!r} is not embedded, expected one of {', '.join(SUITES)}")
    _known(sim_set)
    data = Path(data)
    if not (data / MANIFEST).exists():
        raise FileNotFoundError(
            f"{data / MANIFEST}: not found. The embedded suite comes with a clone of the "
            "repository; install the package from there (pip install -e .)"
        )
    packed = _read_manifest(data / MANIFEST, sim_set)
    # named after its content, so that a longer suite never mixes with an older expansion
    folder = "lite" if sim_set == "LH" else f"lite-{sim_set.lower()}"
    folder = Path(cache_dir or cache_folder()) / f"{folder}-{packed['expanded']['Lite'][:12]}"
    done = [folder / suite / f"params_{sim_set}_{suite}.txt" for suite in SUITES]
    if not all(path.exists() for path in done):
        check_writable(folder, "COSMOLIB_CACHE")
        with held(folder / LOCK):  # a second process waits, and finds it done
            for suite in SUITES:
                sweep(folder / suite)
            if not all(path.exists() for path in done):
                _expand_all(packed, data, folder, sim_set)
    return folder / name


def _read_manifest(path, sim_set):
    """Return what the manifest says of a set, after checking all that is used of it."""
    manifest = read_json(path)
    whole = isinstance(manifest, dict)
    small = manifest.get("sets", {}) if whole else {}
    packed = (
        manifest if sim_set == "LH" else small.get(sim_set) if isinstance(small, dict) else None
    )
    if whole and (packed is None or (isinstance(packed, dict) and "chunks" not in packed)):
        raise ValueError(f"{path}: found no set {sim_set}; `python -m lite` makes it")
    try:
        simulations, grid = packed["simulations"], packed["grid"]
        sound = type(simulations) is int and type(grid) is int
        sound = sound and 1 <= simulations <= MOST and 8 <= grid <= 1024
        hashes = [packed["expanded"][suite] for suite in SUITES]
        first = 0
        for chunk in packed["chunks"]:
            sound = sound and (type(chunk["first"]), chunk["first"]) == (int, first)
            sound = sound and type(chunk["simulations"]) is int and chunk["simulations"] > 0
            if not re.fullmatch(r"[a-z0-9]+-\d{4}\.xz", chunk["file"]):  # a file beside it
                raise ValueError(f"the chunk {reprlib.repr(chunk['file'])}")
            hashes.append(chunk["sha256"])
            first += chunk["simulations"]
        sound = sound and first == simulations
        if not (sound and all(re.fullmatch("[0-9a-f]{64}", digest) for digest in hashes)):
            raise ValueError("sizes or checksums that do not fit together")
    except (TypeError, KeyError, ValueError) as error:
        found = error if type(error) is ValueError else f"no manifest ({error!r:.80})"
        raise ValueError(
            f"{path}: found {found}, expected the one of the repository; restore it with "
            "`git checkout`"
        ) from None
    return packed


def _expand_all(packed, data, folder, sim_set):
    grid, simulations = packed["grid"], packed["simulations"]
    shape = (MAPS * simulations, grid, grid)
    table = "\n".join(_table_rows(data / table_name(sim_set))[:simulations])
    paths = {suite: folder / suite / _maps_name(suite, sim_set) for suite in SUITES}
    with atomic_path(paths["Lite"]) as lite, atomic_path(paths["Nbody_Lite"]) as nbody:
        files = {
            "Lite": np.lib.format.open_memmap(lite, "w+", np.float32, shape),
            "Nbody_Lite": np.lib.format.open_memmap(nbody, "w+", np.float32, shape),
        }
        hashes = {suite: hashlib.sha256() for suite in SUITES}
        for chunk in packed["chunks"]:
            path = data / chunk["file"]
            if not path.is_file():
                raise FileNotFoundError(f"{path}: found no such file, expected a chunk of maps")
            blob = path.read_bytes()
            found = hashlib.sha256(blob).hexdigest()
            if found != chunk["sha256"]:
                raise ValueError(
                    f"{path}: damaged, SHA-256 is {found}, expected {chunk['sha256']}; "
                    "restore it with `git checkout`"
                )
            zero = RATIO_ZEROS.get(sim_set, RATIO_ZERO)
            try:
                maps = decode(blob, MAPS * chunk["simulations"], grid, zero)
            except (ValueError, lzma.LZMAError) as error:
                raise ValueError(f"{path}: found {error}, expected {grid}^2 maps") from None
            start = MAPS * chunk["first"]
            for suite, block in zip(("Nbody_Lite", "Lite"), maps, strict=True):
                files[suite][start : start + len(block)] = block
                hashes[suite].update(block.tobytes())
        for suite in SUITES:
            found, expected = hashes[suite].hexdigest(), packed["expanded"][suite]
            if found != expected:
                raise ValueError(
                    f"{paths[suite]}: expanded maps have SHA-256 {found}, expected {expected}"
                )
            files[suite].flush()
    for suite in SUITES:  # last, as the sign that the maps are whole
        with atomic_path(folder / suite / f"params_{sim_set}_{suite}.txt") as temporary:
            temporary.write_text("# Omega_m sigma_8 A_SN1 A_AGN1 A_SN2 A_AGN2\n" + table + "\n")
