"""Expand the embedded suites from ``data/lite/``.

``data/lite/`` contains quantised and compressed log10 maps:

- ``Nbody_Lite`` and ``Nbody_other``: ``level = round(log10(map) / STEP) - LEVEL_ZERO`` in one byte,
  so that a pixel is known to +-0.02 dex. The residuals of the MED predictor of lossless JPEG
  (ITU-T T.87) are compressed with LZMA.
- ``Lite`` and ``Lite_strong``: the ratio to ``Nbody_Lite`` in steps of `RATIOS` dex, so that the
  *difference* of the suites is more precise than either of them.
- One factor per map and suite restores the mean surface density exactly.

A chunk contains 100 simulations of one *part*: Lite and its twin on the latin hypercube (LH) or in
one of the small sets CV, 1P and EX, or another suite on the hypercube. Each part is expanded
separately. Expansion uses only table look-ups and single products, whose rounding does not depend
on the processor. The SHA-256 of the expanded files is therefore the same on every machine and can
be checked.
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
LEVEL_ZERO = 200  # level 0 is 1e8 (Msun/h)/(Mpc/h)^2, level 255 is 1.6e18
SETS = ("LH", "CV", "1P", "EX")  # described in `lite.generate.set_table`
# Parts and their suites, in the order of a chunk; "strong" and "other" belong to the set LH.
PARTS = dict.fromkeys(SETS, ("Nbody_Lite", "Lite"))
PARTS |= {"strong": ("Lite_strong",), "other": ("Nbody_other",)}
SUITES = ("Lite", "Nbody_Lite", "Lite_strong", "Nbody_other")
# Step of a ratio [dex] and byte of a ratio of 1. In EX, A_SN1 = 100 adds up to 0.64 dex to a void,
# in Lite_strong up to 1.6 dex.
RATIOS = dict.fromkeys(PARTS, (Decimal("0.004"), 128))
RATIOS |= {"EX": (Decimal("0.004"), 64), "strong": (Decimal("0.01"), 40)}

_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Chunk(BaseModel, strict=True):
    """Describe one file, with some consecutive simulations of one part."""

    file: str = Field(pattern=r"^[a-z0-9]+-[0-9]{4}\.xz$")
    first: int
    simulations: PositiveInt
    sha256: _Digest


class Packed(BaseModel, strict=True):
    """Describe one part in the manifest: its chunks and the SHA-256 of the expanded maps."""

    simulations: int = Field(ge=1, le=100_000)
    grid: int = Field(ge=8, le=1024)
    chunks: list[Chunk] = Field(min_length=1)
    expanded: dict[Literal[SUITES], _Digest]


def part_of(name, sim_set):
    """Return the part that contains a set of a suite, or None."""
    return next((part for part, suites in PARTS.items()
                 if name in suites and set_of(part) == sim_set), None)  # fmt: skip


def set_of(part):
    """Return the set of simulations of a part."""
    return part if part in SETS else "LH"


def table_name(part):
    """Return the name of the file with the parameters and seeds of a part."""
    return TABLE if part in ("LH", "strong") else f"CosmoAstroSeed_Lite_{part}.txt"


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


def decode(blob, n_maps, grid, part="LH", gravity=None):
    """Expand a chunk from `lite.pack.encode`.

    Parameters
    ----------
    blob : bytes
    n_maps, grid : int
        Number of maps per suite, and pixels per side.
    part : str
        One of `PARTS`.
    gravity : (n_maps, grid, grid), optional
        Expanded maps of ``Nbody_Lite`` for a part that contains only ratios.

    Returns
    -------
    list of (n_maps, grid, grid) float32
        Maps of the suites of the part [(Msun/h)/(Mpc/h)^2].
    """
    payload, suites, maps = lzma.decompress(blob), PARTS[part], []
    size, shape = len(suites) * n_maps * grid**2, (len(suites), n_maps, grid, grid)
    factors = np.frombuffer(payload, "<f8", offset=size).reshape(len(suites), n_maps, 1, 1)
    coded_maps = np.frombuffer(payload, np.uint8, size).reshape(shape)
    for suite, coded in zip(suites, coded_maps, strict=True):
        if suite.startswith("Nbody_"):
            gravity = powers_of_ten(STEP, -LEVEL_ZERO)[_levels(coded)]
            maps.append(gravity)
        else:
            maps.append(gravity * powers_of_ten(*RATIOS[part])[coded])
    return [(x * factor).astype(np.float32) for x, factor in zip(maps, factors, strict=True)]


def table_rows(path):
    """Return the parameters of a ``CosmoAstroSeed`` table as text, one line per simulation."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return [" ".join(line[1:7]) for line in lines if line and not line[0].startswith("#")]


def maps_path(folder, suite, part):
    """Return the path of the maps of a suite of a part below a folder."""
    return Path(folder) / suite / map_names("Mtot", suite, set_of(part))[0]


def expand(name, cache_dir=None, data=DATA, sim_set="LH"):
    """Expand one set of an embedded suite (and its twin) to CMD-format files, unless they exist.

    The SHA-256 of every chunk is checked before it is decoded, and that of the maps before they
    get their final name. Existing files are therefore complete.

    Parameters
    ----------
    name : str
        One of `SUITES`.
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
    if (part := part_of(name, sim_set)) is None:
        known = f"{', '.join(SUITES)}; set LH, and for Lite and Nbody_Lite {', '.join(SETS[1:])}"
        raise ValueError(f"suite {name}, set {sim_set} is not embedded, expected {known}")
    data = Path(data)
    if not (data / MANIFEST).exists():
        reason = "the embedded suite comes with a clone of the repository (pip install -e .)"
        raise FileNotFoundError(f"{data / MANIFEST}: found no such file: {reason}")
    packed = _read_manifest(data / MANIFEST, part)
    # The name contains a digest, so that a longer suite never mixes with an older expansion.
    folder = "lite" if part == "LH" else f"lite-{part.lower()}"
    user = os.environ.get("COSMOLIB_CACHE") or platformdirs.user_cache_dir("cosmolib")
    folder = Path(cache_dir or user) / f"{folder}-{packed.expanded[PARTS[part][-1]][:12]}"
    tables = [folder / suite / f"params_{sim_set}_{suite}.txt" for suite in PARTS[part]]
    if not all(path.exists() for path in tables):
        gravity = gravity_of(part, cache_dir, data)
        check_writable(folder, "COSMOLIB_CACHE")
        with held(folder / LOCK):
            if not all(path.exists() for path in tables):  # another process may have written them
                _expand_all(packed, data, folder, part, tables, gravity)
    return folder / name


def gravity_of(part, cache_dir=None, data=DATA):
    """Return the maps of ``Nbody_Lite`` for a part that contains only ratios to them, or None."""
    if any(suite.startswith("Nbody_") for suite in PARTS[part]):
        return None
    folder = expand("Nbody_Lite", cache_dir, data).parent
    return np.load(maps_path(folder, "Nbody_Lite", "LH"), mmap_mode="r", allow_pickle=False)


def _read_manifest(path, part):
    """Return the checked entry of one part in the manifest."""
    manifest = read_json(path)
    try:
        packed = Packed.model_validate(manifest if part == "LH" else manifest["sets"][part])
        return packed.model_copy(update={"expanded": {x: packed.expanded[x] for x in PARTS[part]}})
    except (KeyError, TypeError, ValidationError) as error:
        found = f"no valid set {part} ({' '.join(str(error).split()):.150})"
        expected = "that of the repository (`git checkout`) or of `python -m lite`"
        raise bad_input(path, found, expected) from None


def _expand_all(packed, data, folder, part, tables, gravity):
    """Write the maps of all suites, then their tables, which show that the maps are complete."""
    chunks = [_read_chunk(data, chunk, packed.grid, part, gravity) for chunk in packed.chunks]
    for suite, maps in zip(PARTS[part], zip(*chunks, strict=True), strict=True):
        sweep(folder / suite)
        maps, path = np.concatenate(maps), maps_path(folder, suite, part)
        if (found := hashlib.sha256(maps).hexdigest()) != packed.expanded[suite]:
            raise bad_input(path, f"expanded maps of SHA-256 {found}", packed.expanded[suite])
        with atomic_path(path) as temporary:
            np.save(temporary, maps)
    rows = table_rows(data / table_name(part))[: packed.simulations]
    text = "\n".join(["# Omega_m sigma_8 A_SN1 A_AGN1 A_SN2 A_AGN2", *rows, ""])
    for path in tables:
        with atomic_path(path) as temporary:
            temporary.write_text(text)


def _read_chunk(data, chunk, grid, part, gravity):
    path = data / chunk.file
    blob = path.read_bytes()
    if (found := hashlib.sha256(blob).hexdigest()) != chunk.sha256:
        raise bad_input(path, f"SHA-256 {found}", f"{chunk.sha256}; restore it with `git checkout`")
    first, last = (MAPS_PER_SIMULATION * x for x in (chunk.first, chunk.first + chunk.simulations))
    try:
        twin = None if gravity is None else gravity[first:last]
        return decode(blob, last - first, grid, part, twin)
    except (ValueError, lzma.LZMAError) as error:
        raise bad_input(path, error, f"{grid}^2 maps") from None
