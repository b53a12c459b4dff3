"""What `make chaos`, `make bench-cluster` and `make fuzz` measured, as tables of MyST text."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cosmolib.files import read_json  # noqa: E402
from cosmolib.runs import short_commit  # noqa: E402


def write(folder, tables):
    """Write ``chaos.md``, ``cluster.md`` and ``fuzz.md`` of the benchmarks in a folder."""
    for name, (table, command) in PARTS.items():
        path = Path(folder) / f"{name}.json"
        text = f"*Not measured: `make {command}` makes this table.*\n"
        if path.is_file():
            text = table(read_json(path)) + "\n"
        Path(tables, f"{name}.md").write_text(text, encoding="utf-8")


def chaos(result):
    """Return the kills of a study by stage and process, and what came of them."""
    who = sorted({row["who"] for row in result["rows"]})
    works = sorted({row["work"] for row in result["rows"]})
    kills = {(row["work"], row["who"]): row["kills"] for row in result["rows"]}
    lines = [
        f"{result['kills']} kills in {result['seconds'] / 60:.0f} minutes, with {result['starts']} "
        f"starts of the same command; in peace the study takes "
        f"{result['seconds_in_peace'] / 60:.0f}. {_made(result)}",
        "",
        f"| killed at | {' | '.join(who)} |",
        "|---|" + "---:|" * len(who),
    ]
    for work in works:
        cells = [str(kills.get((work, name), "")) for name in who]
        lines.append(f"| {work} | {' | '.join(cells)} |")
    lines += [
        "",
        "| afterwards | |",
        "|---|---:|",
        f"| runs lost | {result['runs_lost']} of {result['runs']} |",
        f"| runs with the metrics of the study in peace | {result['runs_equal']} of "
        f"{result['runs']} |",
        f"| runs trained a second time | {result['runs_trained_twice']} |",
        f"| chapters with the numbers of the study in peace | {result['chapters_equal']} of "
        f"{result['chapters']} |",
        f"| corrupt files, looked for after every kill | {result['corrupt_files']} |",
        f"| temporary files left in the end | {result['left_over_files']} |",
        "",
        "| step | kills | files | bytes of an undisturbed one |",
        "|---|---:|---:|---|",
    ]
    lines += [
        f"| {row['what']} | {row['kills']} | {row['files']} | {'yes' if row['equal'] else 'NO'} |"
        for row in result["steps"]
    ]
    return "\n".join(lines)


def cluster(result):
    """Return what the rehearsal on two nodes did."""
    nodes = ", ".join(f"{count} on {node}" for node, count in result["jobs_by_node"].items())
    states = ", ".join(f"{count} {name.lower()}" for name, count in result["job_states"].items())
    return "\n".join(
        [
            f"{result['slurm'].capitalize()}, two virtual nodes of one machine, "
            f"{result['runs_a_job']} runs a job. {_made(result)}",
            "",
            "| rehearsal | |",
            "|---|---:|",
            f"| runs done | {result['done']} of {result['runs']} |",
            f"| with the metrics of this machine alone | {result['equal']} |",
            f"| jobs | {result['jobs']}: {nodes} |",
            f"| how they ended | {states} |",
            f"| node2 drained after | {result['drained_after_s']} s of {result['seconds']} s |",
            f"| jobs begun on it afterwards | {result['begun_on_drained']} |",
        ]
    )


def fuzz(result):
    """Return the inputs that every reader was given."""
    lines = [
        f"{result['inputs']} inputs, {result['utc'][:10]}; none of them raised anything but our "
        "own error.",
        "",
        "| reader | inputs | refused |",
        "|---|---:|---:|",
    ]
    lines += [f"| {row['reader']} | {row['inputs']} | {row['refused']} |" for row in result["rows"]]
    return "\n".join(lines)


def _made(result):
    made = result["provenance"]
    commit = short_commit(made["git"])
    return f"Measured on {made['platform']}, {made['utc'][:10]}, commit {commit}."


PARTS = {
    "chaos": (chaos, "chaos"),
    "cluster": (cluster, "bench-cluster"),
    "fuzz": (fuzz, "fuzz"),
}
