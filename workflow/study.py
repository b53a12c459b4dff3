"""Run a study and build its book: ``study.py PROFILE [options] [-- options of Snakemake]``.

Snakemake's output is replaced by one line per finished job, with an estimate of the remaining time,
and by the reason of every failure. The configuration is passed as a file because Snakemake's
command line converts a profile named ``2025`` to a number and strips quotes.
"""

import argparse
import hashlib
import json
import logging
import re
import signal
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

SNAKEFILE = Path(__file__).resolve().with_name("Snakefile")
ROOT = SNAKEFILE.parent.parent
sys.path.insert(0, str(ROOT))

from cosmolib.cuts.grammar import cut_of  # noqa: E402
from cosmolib.study.io import check_writable, write_json  # noqa: E402

OUTCOME = re.compile(r"(?:exit status (\d+)|<Signals\.(\w+): \d+>)\.?\s*$")


def label(rule, wildcards):
    """Return the name of a job: ``Lite kmax:4 seed 1`` for a training, otherwise its rule."""
    if "cut" in wildcards:
        return f"{wildcards['suite']} {cut_of(wildcards['cut'])} seed {wildcards['seed']}"
    return " ".join([rule.replace("_", " "), *wildcards.values()])


def outcome(message):
    """Return how a command ended, from Snakemake's message about it."""
    code, name = OUTCOME.search(message).groups()
    if code and int(code) > 128:  # the shell's code for a killed command
        name = signal.Signals(int(code) - 128).name
    return f"killed by {name}" if name else f"exit status {code}"


def duration(seconds):
    """Format a time in seconds as minutes or hours."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class LogHandler(LogHandlerBase):
    """Print progress and failures; a logger plugin of Snakemake."""

    writes_to_stream = has_filter = has_formatter = True
    writes_to_file = needs_rulegraph = False

    def __post_init__(self):
        self.left = Counter()  # number of unfinished jobs, by rule
        self.running = {}  # (rule, label, start time), by job number
        self.most = 1  # largest number of simultaneous jobs
        self.seconds = defaultdict(list)  # run times of finished jobs, by rule
        self.last = ""  # label of the job that finished last
        self.ended = []  # messages about failed commands
        self.failed = {}  # label, by job number

    def emit(self, record):
        """Handle one event of the workflow."""
        event, text = getattr(record, "event", None), record.getMessage()
        if event == LogEvent.RUN_INFO:
            if self.common_settings.dryrun and not self.left:
                print(text, flush=True)
            self.left = Counter({k: n for k, n in record.stats.items() if k != "total"})
        elif event == LogEvent.JOB_INFO:
            name = label(record.rule_name, record.wildcards)
            self.running[record.jobid] = record.rule_name, name, time.monotonic()
            self.most = max(self.most, len(self.running))
        elif event == LogEvent.JOB_FINISHED:
            self.failed.pop(record.job_id, None)  # if a second attempt succeeded
            if record.job_id in self.running:  # otherwise a target without a command
                rule, self.last, start = self.running.pop(record.job_id)
                self.seconds[rule].append(time.monotonic() - start)
                self.left[rule] -= 1
        elif event == LogEvent.PROGRESS:
            print(f"[{record.done}/{record.total}] {self.last}{self.time_left()}", flush=True)
        elif event == LogEvent.JOB_ERROR:
            _, name, _ = self.running.pop(record.jobid, (None, record.rule_name, None))
            self.failed[record.jobid] = name
            logs = f"; see {', '.join(record.log)}" if record.log else ""
            ended = [outcome(message) for message in self.ended if str(record.shellcmd) in message]
            self.complain(f"error: {name}: {record.rule_msg or (ended or ['failed'])[-1]}{logs}")
        elif "CalledProcessError" in text and OUTCOME.search(text):
            self.ended.append(text)  # the JOB_ERROR event follows
        elif "Exiting because a job execution failed" in text and self.failed:
            self.complain(f"error: failed: {', '.join(self.failed.values())}")
        elif "At least one job did not complete" in text:
            pass  # the reasons have been printed
        elif record.levelno >= logging.WARNING:
            self.complain(" ".join([text, *getattr(record, "aux_logs", [])]))

    @staticmethod
    def complain(text):
        """Print to stderr and flush."""
        print(text, file=sys.stderr, flush=True)

    def time_left(self):
        """Return an estimate of the remaining time, from the mean time of the jobs of each rule."""
        everything = [seconds for rule in self.seconds.values() for seconds in rule]
        if not everything or not sum(self.left.values()):
            return ""
        work = 0.0
        for rule, count in self.left.items():
            known = self.seconds[rule] or everything
            work += count * sum(known) / len(known)
        return f" ... {duration(work / self.most)} left"


def main(arguments=None):
    """Run the command line and return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="Options after -- are passed to Snakemake."
    )
    parser.add_argument("profile", help="name of a file in configs/, or a path to one")
    parser.add_argument("--gpu", action="store_true", help="reserve a GPU for each training")
    parser.add_argument(
        "--workers", type=int, default=1, help="number of jobs that share the tuning study"
    )
    options = vars(parser.parse_args(arguments[:end]))
    digest = hashlib.sha256(json.dumps(options).encode()).hexdigest()[:12]
    config = ROOT / "build" / ".study" / f"{digest}.json"  # cluster jobs read it, too

    import platformdirs
    from snakemake.cli import main as snakemake

    try:
        check_writable(platformdirs.user_cache_dir("snakemake"), "XDG_CACHE_HOME")
        write_json(config, options)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    LoggerPluginRegistry().register_plugin("snakemake_logger_plugin_study", sys.modules[__name__])
    # Outputs are written atomically, so two simultaneous studies are safe without Snakemake's lock,
    # which a killed process would leave behind. Chapter 07 takes longest, so it starts early.
    return snakemake(
        ["--snakefile", str(SNAKEFILE), "--configfile", str(config), "--logger", "study"]
        + ["--nolock", "--rerun-incomplete", "--prioritize", "validation"]
        + [*arguments[end + 1 :], "--", "book"]
    )


if __name__ == "__main__":
    sys.exit(main())
