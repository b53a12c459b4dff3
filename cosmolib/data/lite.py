"""Expand the embedded suites, Lite and its gravity-only twin Nbody_Lite, from ``data/lite/``.

``data/lite/`` contains quantised and compressed log10 maps:

- ``Nbody_Lite``: ``level = round(log10(map) / STEP) - LEVEL_ZERO`` in one byte, so that a pixel is
  known to +-0.02 dex. The residuals of the MED predictor of lossless JPEG (ITU-T T.87) are
  compressed with LZMA.
- ``Lite``: the ratio to ``Nbody_Lite`` in steps of ``RATIO_STEP`` dex, so that the *difference* of
  the twins is ten times more precise than either of them.
- One factor per map and suite restores the mean surface density exactly.

A chunk contains 100 simulations of one set: the latin hypercube LH, or one of the small sets CV, 1P
and EX. Each set is expanded separately. Expansion uses only table look-ups and single products,
whose rounding does not depend on the processor. The SHA-256 of the expanded files is therefore the
same on every machine and can be checked.
"""

import hashlib
import lzma
import os
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import platformdirs
from pydantic import BaseModel, Field, PositiveInt, ValidationError

from cosmolib.data.arrays import bad_input
from cosmolib.data.cmd_format import MAPS_PER_SIMULATION, map_names
from cosmolib.study.io import REPOSITORY, atomic_path, check_writable, read_json, sweep
from cosmolib.study.locks import LOCK, held

DATA = REPOSITORY / "data" / "lite"
TABLE = "CosmoAstroSeed_IllustrisTNG_L25n256_LH.txt"  # CAMELS' own, MIT licence
MANIFEST = "manifest.json"
STEP = Decimal("0.04")  # dex
RATIO_STEP = Decimal("0.004")  # dex
LEVEL_ZERO = 200  # level 0 is 1e8 (Msun/h)/(Mpc/h)^2, level 255 is 1.6e18
RATIO_ZERO = 128
SUITES = ("Lite", "Nbody_Lite")
SETS = ("LH", "CV", "1P", "EX")  # described in `lite.generate.set_table`

_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Chunk(BaseModel, strict=True):
    """Describe one file, with some consecutive simulations of both suites."""

    file: str = Field(pattern=r"^[a-z0-9]+-[0-9]{4}\.xz$")
    first: int
    simulations: PositiveInt
    sha256: _Digest


class Packed(BaseModel, strict=True):
    """Describe one set in the manifest: its chunks and the SHA-256 of the expanded maps."""

    simulations: int = Field(ge=1, le=100_000)
    grid: int = Field(ge=8, le=1024)
    chunks: list[Chunk] = Field(min_length=1)
    expanded: dict[Literal["Lite", "Nbody_Lite"], _Digest] = Field(min_length=2)


def table_name(sim_set):
    """Return the name of the file with the parameters and seeds of a set."""
    return TABLE if sim_set == "LH" else f"CosmoAstroSeed_Lite_{sim_set}.txt"


def ratio_zero_of(sim_set):
    """Return the byte of a ratio of 1. In EX, A_SN1 = 100 adds up to 0.64 dex to a void."""
    return 64 if sim_set == "EX" else RATIO_ZERO


def powers_of_ten(step, zero):
    """Return ``10^(step (i - zero))`` for every byte i, correctly rounded: (256,) float64."""
    return np.array([float(Decimal(10) ** (step * (i - zero))) for i in range(256)])


def predict(left, up, corner):
    """Return the MED prediction of ITU-T T.87: the median of left, up and left + up - corner."""
    return np.clip(left + up - corner, np.minimum(left, up), np.maximum(left, up))


def _levels(residuals):
    """Invert `lite.pack._residuals`, pixel by pixel for all maps at once."""
    n, size, _ = residuals.shape
    residuals = np.ascontiguousarray(np.moveaxis(residuals, 0, -1)).astype(np.int16)
    padded = np.zeros((size + 1, size + 1, n), np.int16)
    for i in range(size):
        for j in range(size):
            predicted = predict(padded[i + 1, j], padded[i, j + 1], padded[i, j])
            padded[i + 1, j + 1] = (predicted + residuals[i, j]) & 255
    return np.ascontiguousarray(np.moveaxis(padded[1:, 1:], -1, 0)).astype(np.uint8)


def decode(blob, n_maps, grid, ratio_zero=RATIO_ZERO):
    """Expand a chunk from `lite.pack.encode` with the same ``ratio_zero``.

    Returns
    -------
    gravity, feedback : (n_maps, grid, grid) float32
        Maps of ``Nbody_Lite`` and ``Lite`` [(Msun/h)/(Mpc/h)^2].
    """
    payload, pixels = lzma.decompress(blob), n_maps * grid**2
    coded = np.frombuffer(payload, np.uint8, 2 * pixels).reshape(2, n_maps, grid, grid)
    factors = np.frombuffer(payload, "<f8", offset=2 * pixels).reshape(2, n_maps, 1, 1)
    gravity = powers_of_ten(STEP, -LEVEL_ZERO)[_levels(coded[0])]
    feedback = gravity * powers_of_ten(RATIO_STEP, ratio_zero)[coded[1]]
    return (gravity * factors[0]).astype(np.float32), (feedback * factors[1]).astype(np.float32)


def table_rows(path):
    """Return the parameters of a ``CosmoAstroSeed`` table as text, one line per simulation."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return [" ".join(line[1:7]) for line in lines if line and not line[0].startswith("#")]


def maps_path(folder, suite, sim_set):
    """Return the path of the maps of a suite and set below a folder."""
    return Path(folder) / suite / map_names("Mtot", suite, sim_set)[0]


def expand(name, cache_dir=None, data=DATA, sim_set="LH"):
    """Expand one set of both embedded suites to CMD-format files, unless they exist.

    The SHA-256 of every chunk is checked before it is decoded, and that of the maps before they
    get their final name. Existing files are therefore complete.

    Parameters
    ----------
    name : str
        "Lite" or "Nbody_Lite".
    cache_dir : path, optional
        By default ``$COSMOLIB_CACHE`` or the user's cache folder.
    data : path
        Folder of the chunks.
    sim_set : str
        One of `SETS`.

    Returns
    -------
    Path
        Folder with ``Maps_Mtot_<name>_<set>_z=0.00.npy`` and ``params_<set>_<name>.txt``.

    Raises
    ------
    ValueError
        The name or the set is not embedded, or a chunk is damaged.
    FileNotFoundError
        The repository's ``data/lite`` is missing.
    OSError
        The cache cannot be written.
    """
    if name not in SUITES or sim_set not in SETS:
        known = f"{' or '.join(SUITES)}, set {', '.join(SETS)}"
        raise ValueError(f"suite {name}, set {sim_set} is not embedded, expected {known}")
    data = Path(data)
    if not (data / MANIFEST).exists():
        reason = "the embedded suite comes with a clone of the repository (pip install -e .)"
        raise FileNotFoundError(f"{data / MANIFEST}: found no such file: {reason}")
    packed = _read_manifest(data / MANIFEST, sim_set)
    # The name contains a digest, so that a longer suite never mixes with an older expansion.
    folder = "lite" if sim_set == "LH" else f"lite-{sim_set.lower()}"
    user = os.environ.get("COSMOLIB_CACHE") or platformdirs.user_cache_dir("cosmolib")
    folder = Path(cache_dir or user) / f"{folder}-{packed.expanded['Lite'][:12]}"
    tables = [folder / suite / f"params_{sim_set}_{suite}.txt" for suite in SUITES]
    if not all(path.exists() for path in tables):
        check_writable(folder, "COSMOLIB_CACHE")
        with held(folder / LOCK):
            if not all(path.exists() for path in tables):  # another process may have written them
                _expand_all(packed, data, folder, sim_set, tables)
    return folder / name


def _read_manifest(path, sim_set):
    """Return the checked entry of one set in the manifest."""
    manifest = read_json(path)
    try:
        return Packed.model_validate(manifest if sim_set == "LH" else manifest["sets"][sim_set])
    except (KeyError, TypeError, ValidationError) as error:
        found = f"no valid set {sim_set} ({' '.join(str(error).split()):.150})"
        expected = "that of the repository (`git checkout`) or of `python -m lite`"
        raise bad_input(path, found, expected) from None


def _expand_all(packed, data, folder, sim_set, tables):
    """Write the maps of both suites, then their tables, which show that the maps are complete."""
    chunks = [_read_chunk(data, chunk, packed.grid, sim_set) for chunk in packed.chunks]
    for suite, maps in zip(("Nbody_Lite", "Lite"), zip(*chunks, strict=True), strict=True):
        sweep(folder / suite)
        maps, path = np.concatenate(maps), maps_path(folder, suite, sim_set)
        if (found := hashlib.sha256(maps).hexdigest()) != packed.expanded[suite]:
            raise bad_input(path, f"expanded maps of SHA-256 {found}", packed.expanded[suite])
        with atomic_path(path) as temporary:
            np.save(temporary, maps)
    rows = table_rows(data / table_name(sim_set))[: packed.simulations]
    text = "\n".join(["# Omega_m sigma_8 A_SN1 A_AGN1 A_SN2 A_AGN2", *rows, ""])
    for path in tables:
        with atomic_path(path) as temporary:
            temporary.write_text(text)


def _read_chunk(data, chunk, grid, sim_set):
    path = data / chunk.file
    blob = path.read_bytes()
    if (found := hashlib.sha256(blob).hexdigest()) != chunk.sha256:
        raise bad_input(path, f"SHA-256 {found}", f"{chunk.sha256}; restore it with `git checkout`")
    try:
        n_maps = MAPS_PER_SIMULATION * chunk.simulations
        return decode(blob, n_maps, grid, ratio_zero_of(sim_set))
    except (ValueError, lzma.LZMAError) as error:
        raise bad_input(path, error, f"{grid}^2 maps") from None
