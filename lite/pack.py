"""Compress the maps of Lite to ``data/lite/``; `cosmolib.data.lite` expands them."""

import hashlib
import lzma
from pathlib import Path

import numpy as np

from cosmolib.data.arrays import bad_input, checked_maps
from cosmolib.data.cmd_format import MAPS_PER_SIMULATION
from cosmolib.data.lite import (
    DATA,
    LEVEL_ZERO,
    MANIFEST,
    RATIO_STEP,
    RATIO_ZERO,
    SETS,
    STEP,
    SUITES,
    Packed,
    decode,
    maps_path,
    powers_of_ten,
    predict,
    ratio_zero_of,
    table_name,
    table_rows,
)
from cosmolib.study.io import atomic_path, read_json, sha256, write_json

_CHUNK = 100  # simulations
# Residuals are bytes without alignment or text structure.
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 0, "pb": 0}]


def encode(gravity, feedback, ratio_zero=RATIO_ZERO):
    """Compress twin maps to the bytes of a chunk.

    Parameters
    ----------
    gravity, feedback : (n, N, N)
        Maps of ``Nbody_Lite`` and ``Lite`` [(Msun/h)/(Mpc/h)^2].
    ratio_zero : int
        Byte that represents a ratio of 1.

    Raises
    ------
    ValueError
        A pixel is not positive and finite, or exceeds the range of a byte.
    """
    gravity, feedback = (checked_maps(maps)[0].astype(float) for maps in (gravity, feedback))
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.rint(np.log10(gravity) / float(STEP)) - LEVEL_ZERO
        ratios = np.rint(np.log10(feedback / gravity) / float(RATIO_STEP)) + ratio_zero
    for name, values in (("Nbody_Lite level", levels), ("Lite/Nbody_Lite ratio", ratios)):
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 255):
            expected = "0 to 255, from positive finite maps in (Msun/h)/(Mpc/h)^2"
            raise bad_input(name, f"{values.min():g} to {values.max():g}", expected)
    levels, ratios = levels.astype(np.uint8), ratios.astype(np.uint8)
    decoded = powers_of_ten(STEP, -LEVEL_ZERO)[levels]
    factor = gravity.mean(axis=(1, 2)) / decoded.mean(axis=(1, 2))
    twin = decoded * powers_of_ten(RATIO_STEP, ratio_zero)[ratios]
    twin_factor = feedback.mean(axis=(1, 2)) / twin.mean(axis=(1, 2))
    factors = np.array([factor, twin_factor], "<f8")
    payload = _residuals(levels).tobytes() + ratios.tobytes() + factors.tobytes()
    return lzma.compress(payload, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=_FILTERS)


def _residuals(levels):
    """Return the prediction residuals modulo 256: (n, N, N) uint8 -> uint8."""
    levels = levels.astype(np.int16)
    padded = np.pad(levels, ((0, 0), (1, 0), (1, 0)))
    predicted = predict(padded[:, 1:, :-1], padded[:, :-1, 1:], padded[:, :-1, :-1])
    return (levels - predicted).astype(np.uint8)


def pack(source, out=DATA, sim_set="LH"):
    """Write one set to ``data/lite/`` from the CMD-format files of both suites.

    Chunks with unchanged maps are not rewritten, so that a longer suite only adds files. Entries of
    other sets in the manifest are kept.

    Parameters
    ----------
    source : path
        Folder of both suites, as written by `lite.generate.assemble`.
    out : path
        Folder with the table of the set, for the chunks and the manifest.
    sim_set : str
        One of `cosmolib.data.lite.SETS`.

    Returns
    -------
    dict
        Entry of the set in the manifest (`cosmolib.data.lite.Packed`).

    Raises
    ------
    ValueError
        The shapes of the twins differ, or a small set is incomplete.
    """
    source, out = Path(source), Path(out)
    rows = table_rows(out / table_name(sim_set))
    paths = [maps_path(source, suite, sim_set) for suite in SUITES]
    feedback, gravity = (np.load(path, mmap_mode="r", allow_pickle=False) for path in paths)
    if gravity.shape != feedback.shape:
        raise bad_input(paths[0], f"shape {feedback.shape}", f"that of its twin, {gravity.shape}")
    simulations, grid = len(gravity) // MAPS_PER_SIMULATION, gravity.shape[-1]
    if simulations > len(rows) or (sim_set != "LH" and simulations < len(rows)):
        expected = f"{len(rows)}, the rows of {table_name(sim_set)}"
        raise bad_input(paths[0], f"{simulations} simulations", expected)
    prefix, zero = "lite" if sim_set == "LH" else sim_set.lower(), ratio_zero_of(sim_set)
    hashes, chunks = {suite: hashlib.sha256() for suite in SUITES}, []
    for first in range(0, simulations, _CHUNK):
        count = min(_CHUNK, simulations - first)
        part = slice(MAPS_PER_SIMULATION * first, MAPS_PER_SIMULATION * (first + count))
        name, twins = f"{prefix}-{first:04d}.xz", (gravity[part], feedback[part])
        blob = _shipped_chunk(out / name, *twins, zero) or encode(*twins, zero)
        digest = hashlib.sha256(blob).hexdigest()
        if not (out / name).exists() or sha256(out / name) != digest:
            with atomic_path(out / name) as temporary:
                temporary.write_bytes(blob)
        expanded = decode(blob, MAPS_PER_SIMULATION * count, grid, zero)
        for suite, maps in zip(("Nbody_Lite", "Lite"), expanded, strict=True):
            hashes[suite].update(maps.tobytes())
        chunks.append({"file": name, "first": first, "simulations": count, "sha256": digest})
    expanded = {suite: hashes[suite].hexdigest() for suite in SUITES}
    packed = Packed(simulations=simulations, grid=grid, chunks=chunks, expanded=expanded)
    packed = packed.model_dump()
    manifest = read_json(out / MANIFEST) if (out / MANIFEST).exists() else {}
    small = manifest.pop("sets", {})
    if sim_set == "LH":  # at the top level, because older manifests have no other set
        manifest = {"format": 1, **packed}
    else:
        manifest, small = {"format": 1, **manifest}, {**small, sim_set: packed}
    if small:
        manifest["sets"] = {name: small[name] for name in SETS if name in small}
    write_json(out / MANIFEST, manifest)
    return packed


def _shipped_chunk(path, gravity, feedback, ratio_zero):
    """Return the bytes of an existing chunk with exactly these maps, else None.

    Maps that were expanded from a chunk must not be quantised a second time.
    """
    if not path.exists():
        return None
    blob = path.read_bytes()
    try:
        found = decode(blob, len(gravity), gravity.shape[-1], ratio_zero)
    except (ValueError, lzma.LZMAError):
        return None
    same = all(map(np.array_equal, found, (gravity, feedback)))
    return blob if same else None
