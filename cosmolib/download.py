"""Download of suites of the CAMELS Multifield Dataset (CMD): ``cosmolib download``.

CMD's server is slow and its connections break, and a file of maps has four gigabytes. So bytes go
to ``NAME.part`` and are kept over broken connections, stalls, Ctrl-C and kills; what is wrong is
refused at its first bytes; and only a file that is whole gets its name.

Who does what: `requests` speaks HTTP. `pooch` decides whether there is anything to download, keeps
the final name away from files in the making, and calls our hooks (`ResumableDownloader`, the
checksum). Its own downloader would begin at zero each time, and its hashes would read four
gigabytes once more only to log them: CMD publishes none to compare with, so pooch is asked for
none, and `cosmolib.checksums` keeps our own.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from cosmolib import checksums
from cosmolib.embedded import embedded_suites
from cosmolib.formats import (
    MAPS_PER_SIMULATION,
    NPY_READERS,
    folders_of,
    map_file,
    npy_header,
    table_names,
)
from cosmolib.formats import SIMULATIONS as CMD_SIMULATIONS
from cosmolib.suites import CMD_ACCESS, read_table
from cosmolib.transport import HEAD_BYTES, NotOnServer, ResumableDownloader

CMD_URL = (  # CMD's documentation calls it slow and unstable; users report about 6 MB/s
    "https://users.flatironinstitute.org/~fvillaescusa/priv/DEPnzxoWlaTQ6CjrXqsm0vYi8L7Jy/CMD"
)

# What may stand in a file name: nothing that climbs out of the folder, nothing that a URL reads.
_NAMES = {
    "suite": re.compile(r"(Nbody_)?[A-Za-z][A-Za-z0-9-]*"),
    "set": re.compile(r"[A-Za-z0-9]+"),
    "field": re.compile(r"[A-Za-z][A-Za-z0-9]*"),
}
_TABLE_BYTES = 10**8  # no table of parameters is larger


# --------------------------------------------------------------------------------------------------
# What is downloaded
# --------------------------------------------------------------------------------------------------
def download(
    suite: str,
    set: str = "LH",
    field: str = "Mtot",
    data_dir: str | Path | None = None,
    url: str = CMD_URL,
    *,
    retries: int = 10,
    timeout: float = 60.0,
    sleep: Callable[[float], object] = time.sleep,
    report: Callable[[str], object] = print,
) -> tuple[Path, Path]:
    """Fetch the parameter table and the maps of one suite, set and field.

    What is there already is verified in full instead, without network.

    Parameters
    ----------
    suite, set, field
        CMD's names, e.g. "IllustrisTNG" or "Nbody_IllustrisTNG", "LH", "Mtot".
    data_dir
        Files go to ``data_dir/<suite>/``; None means ``$COSMOLIB_DATA``.
    url
        Address of the folder that holds ``2D_maps/``, http or https.
    retries
        Attempts in a row that may fail without one new byte before it is given up.
    timeout
        Seconds without connection or without a byte that count as a broken transfer.
    sleep, report
        Called with the seconds to wait before an attempt, and with lines for the user.

    Returns
    -------
    maps_path, params_path : Path

    Raises
    ------
    FileNotFoundError
        No folder was named, or the server has none of the known layouts: lists what was tried.
    ValueError
        A name, an address or a file that is not what it should be; nothing of it is kept, and
        no file that was there is changed.
    OSError
        Too little space on the disk, or the server gave up.
    """
    for key, value in (("suite", suite), ("set", set), ("field", field)):
        if not isinstance(value, str) or not _NAMES[key].fullmatch(value):
            raise ValueError(f"{key}: found {value!r}, expected a name such as CMD's files have")
    if suite in embedded_suites():
        raise ValueError(
            f"suite: found {suite!r}, expected a suite of CMD; this one comes with the repository"
        )
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"url: found {url!r}, expected one that starts with http:// or https://")
    if retries < 0 or not 0 < timeout < math.inf:
        raise ValueError(
            f"retries, timeout: found {retries}, {timeout}, expected at least 0, and seconds > 0"
        )
    data_dir = data_dir or os.environ.get("COSMOLIB_DATA")
    if not data_dir:
        raise FileNotFoundError(
            "data folder: found none, expected --data-dir or the environment variable "
            "COSMOLIB_DATA to say where the files go"
        )
    data_dir = Path(data_dir).expanduser()
    options = {"retries": retries, "timeout": timeout, "sleep": sleep, "report": report}

    # The table first: a wrong address shows before the four gigabytes.
    check_table = partial(read_table, name=suite, set=set)
    own = [name for name in table_names(suite, set) if suite in name]
    table = _present(data_dir, suite, own)
    if table is None:
        table = data_dir / suite / own[0]
        source = _fetch(table, table_urls(url, suite, set), table_head, check_table, **options)
        if suite not in source.rsplit("/", 1)[1]:
            report(f"{table}: the server has none of its own; its twin's holds the same rows")
    else:
        _verify(table, check_table, report)

    name = f"Maps_{field}_{suite}_{set}_z=0.00.npy"
    maps = _present(data_dir, suite, [name])
    if maps is None:
        maps = data_dir / suite / name
        _fetch(maps, map_urls(url, suite, name), maps_head, check_maps, **options)
    else:
        _verify(maps, check_maps, report)
    n, usual = check_maps(maps)[0] // MAPS_PER_SIMULATION, CMD_SIMULATIONS.get(set)
    if usual not in (None, n):
        report(f"{maps}: note: {n} simulations, where CMD's set {set} has {usual}")
    return maps, table


def map_urls(url: str, suite: str, name: str) -> list[str]:
    """Where the server can have a file of maps: a folder a suite, ``Nbody``, or flat (older)."""
    root = f"{url.rstrip('/')}/2D_maps/data"
    folders = [f"{suite}/", "Nbody/", ""] if suite.startswith("Nbody_") else [f"{suite}/", ""]
    return [f"{root}/{folder}{name}" for folder in folders]


def table_urls(url: str, suite: str, set: str) -> list[str]:
    """Where the server can have a parameter table, under its new or old name.

    An N-body suite may go without one: that of its hydrodynamic twin, asked for last, holds the
    same rows.
    """
    twin = suite.removeprefix("Nbody_")
    urls = []
    for name in table_names(suite, set):
        urls += map_urls(url, suite if suite in name else twin, name)
    return urls


def _present(data_dir: Path, suite: str, names: list[str]) -> Path | None:
    """First of the names that lies where `cosmolib.suites.open_suite` finds it."""
    folders = folders_of(data_dir, suite) if data_dir.is_dir() else []
    paths = [folder / name for name in names for folder in folders]
    return next((path for path in paths if path.is_file()), None)


def _verify(path: Path, check_file: Callable, report: Callable) -> None:
    """Say that a file is there already, and in which state; ``ValueError`` if in a bad one."""
    try:
        check_file(path)
        state = checksums.verify(path, full=True)
    except ValueError as error:
        raise ValueError(f"{error}; remove the file to download it again") from None
    if state == "verified":
        report(f"{path}: is there already, its SHA-256 is the one recorded")
        return
    try:
        checksums.record(path)
        now = "now it has"
    except OSError as error:  # a shared, read-only folder
        now = f"nor could one be written ({error.strerror})"
    report(f"{path}: is there already; it had no checksum on record, {now}")


def _fetch(path: Path, urls: list[str], check_head, check_file, report, **options) -> str:
    """Download ``path`` from the first URL that has it, record its checksum, return the URL."""
    import pooch

    downloader = ResumableDownloader(path, check_head, check_file, report=report, **options)
    try:
        for url in urls:
            cache = pooch.create(path.parent, "", registry={path.name: None}, urls={path.name: url})
            try:
                cache.fetch(path.name, downloader=downloader)
            except NotOnServer:
                continue
            digest = checksums.record(path, url)
            report(f"{path}: {path.stat().st_size} bytes, SHA-256 {digest}")
            return url
    finally:
        with suppress(OSError):
            path.parent.rmdir()  # only if nothing came
    raise FileNotFoundError(
        f"{path.name}: found HTTP 404 for all of {', '.join(urls)}, expected one of them; "
        f"{CMD_ACCESS} says where the files are now (--url)"
    )


# --------------------------------------------------------------------------------------------------
# What a file must be
# --------------------------------------------------------------------------------------------------
def maps_head(head: bytes, total: int, source) -> tuple[int, ...] | None:
    """Return the shape of a file of maps from its first bytes and its length.

    None means that the header has not come whole yet.

    Raises
    ------
    ValueError
        This is no .npy file (15 n, N, N) of float32 in C order, or its length is another.
    """
    expected = f"a .npy file ({MAPS_PER_SIMULATION} n, N, N) of <f4 in C order"
    refused = ValueError(f"{source}: found {head[:48]!r}..., {total} bytes, expected {expected}")
    if not np.lib.format.MAGIC_PREFIX.startswith(head[:6]):
        raise refused
    if len(head) >= 8 and tuple(head[6:8]) not in NPY_READERS:
        raise refused
    begin, end = 8, 12
    if len(head) >= end:
        width = 2 if head[6] == 1 else 4
        end = begin + width + int.from_bytes(head[begin : begin + width], "little")
    if end > min(total, HEAD_BYTES):
        raise refused
    if len(head) < end:
        return None
    try:
        shape, fortran, dtype = npy_header(io.BytesIO(head[:end]))
    except ValueError:
        raise refused from None
    wrong = len(shape) != 3 or 0 in shape or shape[1] != shape[2] or shape[0] % MAPS_PER_SIMULATION
    if wrong or fortran or dtype != np.dtype("<f4"):
        order = "Fortran" if fortran else "C"
        raise ValueError(
            f"{source}: found shape {shape}, {dtype.str}, {order} order, expected {expected}"
        )
    needed = end + math.prod(shape) * dtype.itemsize
    if needed != total:
        raise ValueError(f"{source}: found {total} bytes, expected {needed} for shape {shape}")
    return shape


def check_maps(path: Path) -> tuple[int, ...]:
    """Return the shape of a file of maps; ``ValueError`` if header and length do not agree."""
    return map_file(path).shape


def table_head(head: bytes, total: int, source) -> bool:
    """Whether the first bytes are those of a text of numbers; False if more of them are needed."""
    text = head.lstrip()
    if total > _TABLE_BYTES or b"\0" in head or text.startswith(b"<") or len(head) == total == 0:
        raise ValueError(
            f"{source}: found {head[:48]!r}..., {total} bytes, expected a text table of numbers"
        )
    return bool(text)


# --------------------------------------------------------------------------------------------------
# Command line
# --------------------------------------------------------------------------------------------------
def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cosmolib download``."""
    parser.add_argument("--suite", required=True, help="e.g. IllustrisTNG, Nbody_IllustrisTNG")
    parser.add_argument("--set", default="LH", help="set of simulations (default: LH)")
    parser.add_argument("--field", default="Mtot", help="field of the maps (default: Mtot)")
    parser.add_argument(
        "--data-dir", help="files go to DIR/<suite>/ (default: $COSMOLIB_DATA)", metavar="DIR"
    )
    parser.add_argument(
        "--url", default=CMD_URL, help="folder that holds 2D_maps/ (default: CMD's)"
    )
    parser.add_argument(
        "--retries", type=int, default=10, help="attempts in a row without a new byte (default: 10)"
    )
    parser.add_argument(
        "--timeout", type=float, default=60.0, help="seconds without a byte (default: 60)"
    )


def run_from_args(arguments: argparse.Namespace) -> None:
    """Run ``cosmolib download``."""
    download(
        arguments.suite,
        set=arguments.set,
        field=arguments.field,
        data_dir=arguments.data_dir,
        url=arguments.url,
        retries=arguments.retries,
        timeout=arguments.timeout,
        report=lambda line: print(line, flush=True),
    )
