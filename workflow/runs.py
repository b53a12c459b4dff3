"""List the training runs of a study, and identify the code of a notebook."""

import ast
import json
from dataclasses import replace
from pathlib import Path

from cosmolib.study.identity import code_digest
from cosmolib.study.profile import Profile
from cosmolib.study.run import Run


def study_runs(profile: Profile, root: str | Path = "runs") -> list[Run]:
    """List all training runs of a study in order, without duplicates.

    The runs that chapter 06 compares come first. A study whose chapters explain its own networks
    also needs further seeds of the first suite, uncut, and last the controls with shuffled labels,
    one per seed, which must fail.
    """
    first = Run(profile.name, profile.suites[0], "none", profile.architecture, 0, root)
    runs = [
        Run(profile.name, *case, profile.architecture, seed, root)
        for case in profile.cases
        for seed in profile.seeds_of(*case)
    ]
    if profile.answer:  # the networks of the stored study are explained
        return runs
    runs += [replace(first, seed=seed) for seed in profile.attribution_seeds]
    return list(dict.fromkeys(runs)) + [
        replace(first, profile=profile.shuffled.name, seed=seed)
        for seed in profile.attribution_seeds
    ]


def notebook_source(path: str | Path) -> dict[str, str]:
    """Return the code of a notebook by a name of file and digest, as ``sources`` of an identity.

    Prose and cells that the book hides do not count.
    """
    cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    shown = [cell for cell in cells if "remove-cell" not in cell["metadata"].get("tags", [])]
    text = "\n".join("".join(cell["source"]) for cell in shown if cell["cell_type"] == "code")
    return {f"{Path(path).stem} {code_digest(ast.parse(text))}": text}
