"""Download suites of CMD with curl; an interrupted transfer is resumed (``cosmolib download``)."""

import os
import re
import shutil
import time
from pathlib import Path
from subprocess import PIPE, Popen, run

from cosmolib.data import checksums, cmd_format
from cosmolib.data.tables import read_table
from cosmolib.study.io import read_json, redact, write_json
from cosmolib.study.locks import held

CMD_URL = (  # CMD's documentation calls it slow and unstable; users report about 6 MB/s
    "https://users.flatironinstitute.org/~fvillaescusa/priv/DEPnzxoWlaTQ6CjrXqsm0vYi8L7Jy/CMD"
)


def download(
    suite, sim_set="LH", field="Mtot", data_dir=None, url=CMD_URL, *, retries=10, timeout=60.0,
    report=print,
) -> list[Path]:  # fmt: skip
    """Fetch maps and parameter table of a suite into ``data_dir/<suite>/`` and return their paths.

    Existing files are verified instead, without network; a wrong file (ValueError) is not kept. An
    attempt ends after ``timeout`` seconds without a byte, ``retries`` without progress are allowed.
    """
    if not (data_dir := data_dir or os.environ.get("COSMOLIB_DATA")):
        raise FileNotFoundError("data folder: found none, expected --data-dir or $COSMOLIB_DATA")
    data_dir, limit, paths = Path(data_dir).expanduser(), max(1, round(timeout)), []
    curl = f"curl -q -L --globoff --proto =http,https -Y 1 -y {limit} --connect-timeout {limit}"
    existing = cmd_format.data_files([suite], data_dir, field, sim_set)
    for names, check in (  # the table first: a wrong address shows before four gigabytes
        (cmd_format.table_names(suite, sim_set), lambda path: read_table(path, suite, sim_set)),
        (cmd_format.map_names(field, suite, sim_set), cmd_format.map_file),
    ):
        own = (path for path in existing if path.name in names and suite in path.name)
        paths.insert(0, path := next(own, data_dir / suite / names[0]))
        if path.is_file():
            check(path)
            if not checksums.verify(path, full=True):
                checksums.record(path)
            report(f"{path}: exists, nothing wrong found")
            continue
        urls, part = cmd_format.server_urls(url, suite, names), path.with_name(f"{path.name}.part")
        with held(path.with_name(f".{path.name}.lock"), wait=False):
            source = _complete(part, urls, curl.split(), retries, report)
            try:
                check(part)
            except ValueError:
                part.unlink()
                raise
            part.replace(path)
            checksums.record(path, redact(source))
            report(f"{path}: complete, from {source}")
    return paths


def _complete(part, urls, curl, retries, report):
    """Download a file to its part from the first address that has it; return the address.

    Each attempt is a process that resumes: with ``--retry``, curl discards incomplete transfers.
    """
    sidecar, most, failures = part.with_suffix(".json"), 0, 0
    while failures <= retries:
        found = ((remote, url) for url in urls if (remote := _remote(url, curl, retries)))
        remote, url = next(found, (None, None))
        if remote is None:
            raise FileNotFoundError(f"{part.stem}: found at none of {', '.join(urls)}")
        if not sidecar.exists() or read_json(sidecar) != remote or not any(remote[1:]):
            report(f"{url}: {remote[0]} bytes; if interrupted, the same command resumes")
            part.unlink(missing_ok=True)  # first: the sidecar must not vouch for other bytes
            write_json(sidecar, remote)  # the version that the bytes belong to
        with open(part, "ab") as file:
            code, size = 0, file.tell()
            if size != remote[0]:
                # Through a pipe: when this process is killed, curl cannot go on writing the file.
                with Popen([*curl, "-f", "-C", str(size), url], stdout=PIPE) as process:
                    shutil.copyfileobj(process.stdout, file)
                os.fsync(file.fileno())  # the final name must not outlive the bytes
                code, size = process.returncode, file.tell()
        if code == 0:
            sidecar.unlink()
            return url
        if code == 33:  # the server ignores ranges
            part.unlink()
        most, failures = max(most, size), 0 if size > most else failures + 1
        report(f"{url}: curl ended with code {code}; {size} bytes are kept")
        time.sleep(min(2**failures, 60))
    raise OSError(f"{url}: gave up after {failures} attempts without a new byte")


def _remote(url, curl, retries):
    """Return length, ETag and date of a remote file; None if the server has no such file."""
    command = [*curl, "-sSI", "--retry", str(retries), "--retry-all-errors", "-w", "%{http_code}"]
    head = run([*command, url], stdout=PIPE, text=True, errors="replace")
    *_, headers, status = ["", *head.stdout.split("\n\n")]  # one block for each redirect
    if status in ("404", "410"):
        return None
    if status != "200":
        raise OSError(f"{url}: found HTTP status {status} (curl: {head.returncode}), expected 200")
    values = dict(re.findall(r"^([a-z-]+): *(.*)", headers.lower(), re.MULTILINE))
    return [int(values.get("content-length", -1)), values.get("etag"), values.get("last-modified")]
