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
    PARTS,
    RATIOS,
    STEP,
    Packed,
    decode,
    gravity_of,
    maps_path,
    powers_of_ten,
    predict,
    set_of,
    table_name,
    table_rows,
)
from cosmolib.study.io import atomic_path, read_json, sha256, write_json

_CHUNK = 100  # simulations
# Residuals are bytes without alignment or text structure.
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 0, "pb": 0}]


@np.errstate(divide="ignore", invalid="ignore")  # `_as_bytes` refuses such pixels
def encode(gravity, feedback=None, part="LH", shipped=None):
    """Compress maps to the bytes of a chunk.

    Parameters
    ----------
    gravity : (n, N, N)
        Maps with gravity only [(Msun/h)/(Mpc/h)^2].
    feedback : (n, N, N), optional
        Maps of the same simulations with feedback; without them, the part has gravity only.
    part : str
        One of `cosmolib.data.lite.PARTS`.
    shipped : (n, N, N), optional
        Expanded maps of ``Nbody_Lite``. With them, only the ratio of ``feedback`` to ``gravity`` is
        stored, to be applied to these maps.

    Raises
    ------
    ValueError
        A pixel is not positive and finite, or exceeds the range of a byte.
    """
    gravity = checked_maps(gravity)[0].astype(float)
    coded, factors = [], []
    if shipped is None:
        levels = _as_bytes("gravity level", np.log10(gravity) / float(STEP), -LEVEL_ZERO)
        shipped = powers_of_ten(STEP, -LEVEL_ZERO)[levels]
        coded.append(_residuals(levels))
        factors.append(gravity.mean(axis=(1, 2)) / shipped.mean(axis=(1, 2)))
    if feedback is not None:
        feedback, (step, zero) = checked_maps(feedback)[0].astype(float), RATIOS[part]
        ratios = np.log10(feedback / gravity) / float(step)
        coded.append(_as_bytes("feedback/gravity ratio", ratios, zero))
        maps = shipped * powers_of_ten(step, zero)[coded[-1]]
        factors.append(feedback.mean(axis=(1, 2)) / maps.mean(axis=(1, 2)))
    payload = b"".join(array.tobytes() for array in (*coded, np.array(factors, "<f8")))
    return lzma.compress(payload, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=_FILTERS)


def _as_bytes(name, values, zero):
    """Round values and add the byte of 0; raise an error if one is out of the range of bytes."""
    values = np.rint(values) + zero
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 255):
        expected = "0 to 255, from positive finite maps in (Msun/h)/(Mpc/h)^2"
        raise bad_input(name, f"{values.min():g} to {values.max():g}", expected)
    return values.astype(np.uint8)


def _residuals(levels):
    """Return the prediction residuals modulo 256: (n, N, N) uint8 -> uint8."""
    levels = levels.astype(np.int16)
    padded = np.pad(levels, ((0, 0), (1, 0), (1, 0)))
    predicted = predict(padded[:, 1:, :-1], padded[:, :-1, 1:], padded[:, :-1, :-1])
    return (levels - predicted).astype(np.uint8)


def pack(source, out=DATA, part="LH"):
    """Write one part to ``data/lite/`` from the CMD-format files of its suites.

    Chunks with unchanged maps are not rewritten, so that a longer suite only adds files. Entries of
    other parts in the manifest are kept.

    Parameters
    ----------
    source : path
        Folder of the suites, as written by `lite.generate.assemble`.
    out : path
        Folder with the table of the part, for the chunks and the manifest.
    part : str
        One of `cosmolib.data.lite.PARTS`.

    Returns
    -------
    dict
        Entry of the part in the manifest (`cosmolib.data.lite.Packed`).

    Raises
    ------
    ValueError
        The shapes of the twins differ, or a small set is incomplete.
    """
    source, out, suites = Path(source), Path(out), PARTS[part]
    rows = table_rows(out / table_name(part))
    shipped = gravity_of(part, data=out)
    names = suites if shipped is None else ("Nbody_Lite", *suites)
    paths = [maps_path(source, suite, part) for suite in names]
    made = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
    if made[0].shape != made[-1].shape:
        expected = f"that of its twin, {made[0].shape}"
        raise bad_input(paths[-1], f"shape {made[-1].shape}", expected)
    simulations, grid = len(made[0]) // MAPS_PER_SIMULATION, made[0].shape[-1]
    if simulations > len(rows) or (set_of(part) != "LH" and simulations < len(rows)):
        expected = f"{len(rows)}, the rows of {table_name(part)}"
        raise bad_input(paths[0], f"{simulations} simulations", expected)
    prefix = "lite" if part == "LH" else part.lower()
    hashes, chunks = {suite: hashlib.sha256() for suite in suites}, []
    for first in range(0, simulations, _CHUNK):
        count = min(_CHUNK, simulations - first)
        rows_of = slice(MAPS_PER_SIMULATION * first, MAPS_PER_SIMULATION * (first + count))
        name, maps = f"{prefix}-{first:04d}.xz", [x[rows_of] for x in made]
        base = shipped if shipped is None else shipped[rows_of]
        options = MAPS_PER_SIMULATION * count, grid, part, base
        blob = _shipped_chunk(out / name, maps[-len(suites) :], options) or encode(
            *maps, part=part, shipped=base
        )
        digest = hashlib.sha256(blob).hexdigest()
        if not (out / name).exists() or sha256(out / name) != digest:
            with atomic_path(out / name) as temporary:
                temporary.write_bytes(blob)
        for suite, expanded in zip(suites, decode(blob, *options), strict=True):
            hashes[suite].update(expanded.tobytes())
        chunks.append({"file": name, "first": first, "simulations": count, "sha256": digest})
    expanded = {suite: hashes[suite].hexdigest() for suite in suites}
    packed = Packed(simulations=simulations, grid=grid, chunks=chunks, expanded=expanded)
    packed = packed.model_dump()
    manifest = read_json(out / MANIFEST) if (out / MANIFEST).exists() else {}
    others = manifest.pop("sets", {})
    if part == "LH":  # at the top level, because older manifests have no other part
        manifest = {"format": 1, **packed}
    else:
        manifest, others = {"format": 1, **manifest}, {**others, part: packed}
    if others:
        manifest["sets"] = {name: others[name] for name in PARTS if name in others}
    write_json(out / MANIFEST, manifest)
    return packed


def _shipped_chunk(path, maps, options):
    """Return the bytes of an existing chunk with exactly these maps, else None.

    Maps that were expanded from a chunk must not be quantised a second time.
    """
    if not path.exists():
        return None
    blob = path.read_bytes()
    try:
        same = all(map(np.array_equal, decode(blob, *options), maps))
    except (ValueError, lzma.LZMAError):
        return None
    return blob if same else None
