"""Download CMD suites with curl and resume interrupted transfers (``cosmolib download``)."""

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
    """Download maps and parameters of a suite to ``data_dir/<suite>/`` and return their paths.

    Existing files are verified without network access. A downloaded file that is invalid is deleted
    and raises a ValueError. A transfer is repeated after ``timeout`` seconds without data, and
    given up after more than ``retries`` attempts in a row without progress.
    """
    if not (data_dir := data_dir or os.environ.get("COSMOLIB_DATA")):
        raise FileNotFoundError("data folder: found none, expected --data-dir or $COSMOLIB_DATA")
    data_dir, limit, paths = Path(data_dir).expanduser(), max(1, round(timeout)), []
    curl = f"curl -q -L --globoff --proto =http,https -Y 1 -y {limit} --connect-timeout {limit}"
    existing = cmd_format.data_files([suite], data_dir, field, sim_set)
    for names, check in (  # the table first: a wrong URL fails before the download of 4 GB
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
    """Download the file ``part`` from the first URL that exists, and return this URL.

    Every attempt is a separate curl process, because ``curl --retry`` discards partial transfers.
    """
    sidecar, most, failures = part.with_suffix(".json"), 0, 0
    while failures <= retries:
        found = ((remote, url) for url in urls if (remote := _remote(url, curl, retries)))
        remote, url = next(found, (None, None))
        if remote is None:
            raise FileNotFoundError(f"{part.stem}: found at none of {', '.join(urls)}")
        if not sidecar.exists() or read_json(sidecar) != remote or not any(remote[1:]):
            report(f"{url}: {remote[0]} bytes; if interrupted, the same command resumes")
            part.unlink(missing_ok=True)  # before the sidecar describes another version
            write_json(sidecar, remote)  # version of the remote file that the bytes belong to
        with open(part, "ab") as file:
            code, size = 0, file.tell()
            if size != remote[0]:
                # Through a pipe, so that curl cannot continue writing if this process is killed.
                with Popen([*curl, "-f", "-C", str(size), url], stdout=PIPE) as process:
                    shutil.copyfileobj(process.stdout, file)
                os.fsync(file.fileno())  # the bytes must reach the disk before the final name does
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
    """Return length, ETag and date of a remote file, or None if the server does not have it."""
    command = [*curl, "-sSI", "--retry", str(retries), "--retry-all-errors", "-w", "%{http_code}"]
    head = run([*command, url], stdout=PIPE, text=True, errors="replace")
    *_, headers, status = ["", *head.stdout.split("\n\n")]  # one block per redirect
    if status in ("404", "410"):
        return None
    if status != "200":
        raise OSError(f"{url}: found HTTP status {status} (curl: {head.returncode}), expected 200")
    values = dict(re.findall(r"^([a-z-]+): *(.*)", headers.lower(), re.MULTILINE))
    return [int(values.get("content-length", -1)), values.get("etag"), values.get("last-modified")]
