"""Compress the maps of Lite into ``data/lite/``; `cosmolib.data.lite` expands them."""

from __future__ import annotations

import hashlib
import lzma
from pathlib import Path

import numpy as np

from cosmolib.data.arrays import checked_maps
from cosmolib.data.lite import (
    CHUNK,
    DATA,
    LEVEL_ZERO,
    MANIFEST,
    MAPS,
    RATIO_STEP,
    RATIO_ZERO,
    RATIO_ZEROS,
    SETS,
    STEP,
    SUITES,
    _maps_name,
    _powers_of_ten,
    _predict,
    _table_rows,
    decode,
    table_name,
)
from cosmolib.study.io import atomic_path, read_json, sha256, write_json

# residuals are bytes without alignment or text structure
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 0, "pb": 0}]


def encode(gravity, feedback, ratio_zero=RATIO_ZERO):
    """Compress twin maps.

    Parameters
    ----------
    gravity, feedback : ndarray, shape (n, N, N)
        Maps of ``Nbody_Lite`` and ``Lite`` [(Msun/h)/(Mpc/h)^2].
    ratio_zero : int
        The byte of equal twins.

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        If a pixel is not positive and finite or outside of what a byte can hold.
    """
    gravity, feedback = (checked_maps(maps)[0].astype(float) for maps in (gravity, feedback))
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.rint(np.log10(gravity) / float(STEP)) - LEVEL_ZERO
        ratios = np.rint(np.log10(feedback / gravity) / float(RATIO_STEP)) + ratio_zero
    for name, values in (("Nbody_Lite level", levels), ("Lite/Nbody_Lite ratio", ratios)):
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 255):
            raise ValueError(
                f"{name}: found {values.min():g} to {values.max():g}, expected 0 to 255, from "
                "positive finite maps in (Msun/h)/(Mpc/h)^2"
            )
    levels, ratios = levels.astype(np.uint8), ratios.astype(np.uint8)
    decoded = _powers_of_ten(STEP, -LEVEL_ZERO)[levels]
    factor = gravity.mean(axis=(1, 2)) / decoded.mean(axis=(1, 2))
    twin = decoded * _powers_of_ten(RATIO_STEP, ratio_zero)[ratios]
    twin_factor = feedback.mean(axis=(1, 2)) / twin.mean(axis=(1, 2))
    payload = b"".join(
        (
            _residuals(levels).tobytes(),
            ratios.tobytes(),
            factor.astype("<f8").tobytes(),
            twin_factor.astype("<f8").tobytes(),
        )
    )
    return lzma.compress(payload, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=_FILTERS)


def _residuals(levels):
    """Prediction residuals modulo 256: (n, N, N) uint8 -> uint8."""
    levels = levels.astype(np.int16)
    padded = np.pad(levels, ((0, 0), (1, 0), (1, 0)))
    predicted = _predict(padded[:, 1:, :-1], padded[:, :-1, 1:], padded[:, :-1, :-1])
    return (levels - predicted).astype(np.uint8)


def pack(source, out=DATA, sim_set="LH"):
    """Write one set of ``data/lite/`` from the CMD-format files of both suites.

    Chunks whose bytes have not changed are left alone, so that a longer suite adds files only.
    The manifest keeps what it says of the other sets.

    Parameters
    ----------
    source : path
        Folder with ``<suite>/Maps_Mtot_<suite>_<set>_z=0.00.npy`` of both suites, as
        `lite.generate.assemble` leaves it.
    out : path
        Folder that holds the set's table and receives chunks and manifest.
    sim_set : str
        One of `embedded_sets`.

    Returns
    -------
    dict
        What the manifest says of the set.

    Raises
    ------
    ValueError
        If the twins do not fit together, or a small set is not whole.
    """
    source, out = Path(source), Path(out)
    rows = _table_rows(out / table_name(sim_set))
    paths = [source / suite / _maps_name(suite, sim_set) for suite in SUITES]
    feedback, gravity = (np.load(path, mmap_mode="r", allow_pickle=False) for path in paths)
    if gravity.shape != feedback.shape:
        raise ValueError(
            f"{paths[0]}: found shape {feedback.shape}, expected {gravity.shape}, its twin's"
        )
    simulations, grid = len(gravity) // MAPS, gravity.shape[-1]
    if simulations > len(rows) or (sim_set != "LH" and simulations < len(rows)):
        raise ValueError(
            f"{paths[0]}: found {simulations} simulations, expected {len(rows)}, the rows of "
            f"{table_name(sim_set)}"
        )
    packed = {"simulations": simulations, "grid": grid, "chunks": []}
    prefix = "lite" if sim_set == "LH" else sim_set.lower()
    zero = RATIO_ZEROS.get(sim_set, RATIO_ZERO)
    hashes = {suite: hashlib.sha256() for suite in SUITES}
    for first in range(0, simulations, CHUNK):
        count = min(CHUNK, simulations - first)
        maps = slice(MAPS * first, MAPS * (first + count))
        name = f"{prefix}-{first:04d}.xz"
        blob = _shipped_chunk(out / name, gravity[maps], feedback[maps], zero)
        blob = blob or encode(gravity[maps], feedback[maps], zero)
        digest = hashlib.sha256(blob).hexdigest()
        if not (out / name).exists() or sha256(out / name) != digest:
            with atomic_path(out / name) as temporary:
                temporary.write_bytes(blob)
        expanded = decode(blob, MAPS * count, grid, zero)
        expanded = dict(zip(("Nbody_Lite", "Lite"), expanded, strict=True))
        for suite in SUITES:
            hashes[suite].update(expanded[suite].tobytes())
        packed["chunks"].append(
            {"file": name, "first": first, "simulations": count, "sha256": digest}
        )
    packed["expanded"] = {suite: hashes[suite].hexdigest() for suite in SUITES}
    manifest = read_json(out / MANIFEST) if (out / MANIFEST).exists() else {}
    small = manifest.pop("sets", {})
    if sim_set == "LH":  # its part is the manifest's top, as it was before there were other sets
        manifest = {"format": 1, **packed}
    else:
        manifest, small = {"format": 1, **manifest}, {**small, sim_set: packed}
    if small:
        manifest["sets"] = {name: small[name] for name in SETS if name in small}
    write_json(out / MANIFEST, manifest)
    return packed


def _shipped_chunk(path, gravity, feedback, ratio_zero):
    """Bytes of a chunk that already holds just these maps, else None: quantise only once."""
    if not path.exists():
        return None
    blob = path.read_bytes()
    try:
        found = decode(blob, len(gravity), gravity.shape[-1], ratio_zero)
    except (ValueError, lzma.LZMAError):
        return None
    same = all(map(np.array_equal, found, (gravity, feedback)))
    return blob if same else None
