"""Controls: which part of each published conclusion survives them.

Besides hiding information, a cut shows which pixels were cut, a threshold in surface density
follows Omega_m, a sharp filter makes negative pixels, the mean of a map stays, and the maps have no
noise. Each control removes one of these effects, or isolates it, and asks a claim's question again.
The thresholds are those of `cosmolib.results.claims`, on the same results table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from cosmolib.cuts.grammar import DENSITY_CUTS, FIELDS, FILLS, Cut
from cosmolib.results.claims import (
    AGGRESSIVE,
    INFERRED_R2,
    LITTLE_LOSS,
    MIN_TEST_SIMULATIONS,
    MINIMAL_LOSS,
    NO_MEAN,
    OVER,
    UNDER,
    NotTestable,
    cuts_of,
    estimates_of,
    find_row,
    hydro_suite,
    negative,
    twin_of,
)

SURVIVES, FAILS, OPEN, NOT_RUN = "survives", "does not survive", "left open", "not run"
_WITHOUT_MEAN = Cut.parse(NO_MEAN).before


def pairs(cuts) -> list[tuple[str, str, str]]:
    """Find the controls among some cuts: (kind, cut, control) for each pair of them.

    ======== ===================================================================================
    mask     a density cut and the mask that it leaves, or its negative, which is equivalent
    maskmean the same cut of maps without their mean, and the mask with the mean
    moved    a density cut and the same mask half a box away
    shuffle  a density cut and as many pixels cut at random places
    fill     a density cut that clamps and the same with another fill
    field    a Fourier cut of the linear map and the same of its log (or delta)
    nomean   a cut and the same of maps divided by their mean
    ======== ===================================================================================
    """
    known = {str(Cut.parse(cut)): Cut.parse(cut) for cut in cuts}
    found = []

    def masks(cut, control):
        kinds = sorted(DENSITY_CUTS, key=lambda kind: kind != cut.kind)
        both = [replace(cut, kind=k, fill=None, control=control, before=()) for k in kinds]
        return [(control, mask) for mask in both if str(mask) in known][:1]

    for text, cut in known.items():
        if cut.control is None and cut.is_density and cut.before == _WITHOUT_MEAN:
            found += [(kind, text, str(mask)) for kind, mask in masks(cut, "maskmean")]
        if not cut.is_plain:
            continue
        wanted = [("nomean", replace(cut, before=_WITHOUT_MEAN))]
        if cut.is_density:
            wanted += masks(cut, "mask")
            wanted += [(kind, replace(cut, control=kind)) for kind in ("moved", "shuffle")]
            if cut.fill == "clamp":
                wanted += [("fill", replace(cut, fill=fill)) for fill in FILLS[1:]]
        if cut.is_fourier and cut.field == "linear":
            wanted += [("field", replace(cut, field=field)) for field in FIELDS[1:]]
        found += [(kind, text, str(control)) for kind, control in wanted if str(control) in known]
    return found


@dataclass(frozen=True)
class Control:
    """One control of one claim.

    Attributes
    ----------
    claim : str
        Key of a `cosmolib.results.claims.Claim`.
    question : str
        What is asked, with the rule that decides.
    kind : str
        What is measured: "r2"; "loss", of R2 against the uncut maps; "noise", the R2 of all levels
        of white noise before a cut; "mask", "moved" or "field", R2 of a cut minus that of this
        control of it; "scaling", the loss on the other suite, scaled by itself.
    cuts : callable
        Takes a results table; returns the cuts that are measured.
    threshold : float
        The claim survives a number above it; below it for losses and field controls.
    reverse : bool
        Control minus cut instead of cut minus control.
    """

    claim: str
    question: str
    kind: str
    cuts: Callable[[dict], list[str]]
    threshold: float
    above: bool = True
    reverse: bool = False


def judge(results: dict) -> list[dict]:
    """Judge every control by a results table.

    Parameters
    ----------
    results : dict
        As for `cosmolib.results.claims.judge`, with ``control_rows`` and ``controls``.

    Returns
    -------
    list of dict
        claim (its key), question, measured (text), verdict: "survives" if every 95 % interval lies
        on the claim's side of the threshold, "does not survive" if one lies on the other, else
        "left open"; "not run" where the study has no such case. For noise the verdict is the
        highest level up to which the claim survives at every level below.
    """
    return [
        {"claim": control.claim, "question": control.question, **_judge_one(control, results)}
        for control in CONTROLS
    ]


def _judge_one(control, results):
    try:
        cases = _measure(control, results)
        both = [estimates_of(entry) for _, entry in cases]
    except NotTestable as error:
        return {"measured": str(error), "verdict": NOT_RUN}
    if not cases:
        return {"measured": "not measured", "verdict": NOT_RUN}
    if results["n_test_simulations"] < MIN_TEST_SIMULATIONS:
        return {"measured": "too few test simulations for intervals", "verdict": NOT_RUN}
    verdicts = [_side(two, control.threshold, control.above) for two in both]
    measured = "; ".join(
        f"{what}: {' and '.join(_text(x) for x in two)}"
        for (what, _), two in zip(cases, both, strict=True)
    )
    if control.kind == "noise":
        held = next((i for i, v in enumerate(verdicts) if v != SURVIVES), len(verdicts))
        verdict = f"survives up to {cases[held - 1][0]}" if held else verdicts[0]
    else:
        verdict = min(verdicts, key=[FAILS, OPEN, SURVIVES].index)  # the worst decides
    return {"measured": measured, "verdict": verdict}


def _side(two, threshold, above):
    sign = 1 if above else -1
    ends = [sorted((sign * x["low"], sign * x["high"])) for x in two]
    if all(low > sign * threshold for low, _ in ends):
        return SURVIVES
    return FAILS if any(high < sign * threshold for _, high in ends) else OPEN


def _text(estimate):
    return f"{estimate['value']:.2f} [{estimate['low']:.2f}, {estimate['high']:.2f}]"


# --------------------------------------------------------------------------------------------------
# What is measured
# --------------------------------------------------------------------------------------------------
def _measure(control, results):
    """Return [(what was measured, estimate by parameter), ...], of the suite with feedback."""
    suite = hydro_suite(results)
    if control.kind == "scaling":
        return [
            (f"{x['trained']} to {x['tested']}", _minus(x["difference"]))
            for x in results["cross"]
            if {x["trained"], x["tested"]} == {suite, twin_of(results)}
            and x.get("scaling") == "tested"
        ]
    cuts = control.cuts(results)
    if control.kind in ("mask", "moved", "field"):
        found = [
            (x["cut"], x["control"], x["difference"])
            for x in results.get("controls", ())
            if x["kind"] == control.kind
            and x["suite"] == suite
            and x["cut"] in cuts
            # The overdensity is the linear map up to a factor: only the log is another field.
            and Cut.parse(x["control"]).field in (None, "log")
        ]
        if control.reverse:
            return [(f"{other} minus {cut}", _minus(entry)) for cut, other, entry in found]
        return [(f"{cut} minus {other}", entry) for cut, other, entry in found]
    rows = [(cut, row) for cut in cuts if (row := find_row(results, suite, cut))]
    if control.kind == "loss":
        return [(cut, _minus(row["best_difference"])) for cut, row in rows]
    if control.kind == "noise":
        return [(f"noise {Cut.parse(cut).noise[1]:g}", row["best"]) for cut, row in rows]
    return [(cut, row["best"]) for cut, row in rows]


def _minus(entry):
    return {name: negative(x) if x["low"] is not None else x for name, x in entry.items()}


def _these(*cuts):
    return lambda results: list(cuts)


def _noisy(base):
    """White noise of every level before a cut of maps without their mean, weakest first."""

    def cuts(results):
        noisy = [
            cut
            for cut in cuts_of(results, controls=True)
            if cut.noise
            and cut.noise[0] == "white"
            and cut.before[1:] == _WITHOUT_MEAN
            and replace(cut, before=()) == Cut.parse(base)
        ]
        return [str(cut) for cut in sorted(noisy, key=lambda cut: cut.noise[1])]

    return cuts


def _other_fills(results):
    """Density cuts that do not clamp and are no control otherwise."""
    cuts = cuts_of(results, controls=True)
    return [str(cut) for cut in cuts if cut.is_plain and cut.fill in FILLS[1:]]


def _without_mean(results):
    cuts = cuts_of(results, controls=True)
    absolute = [cut for cut in cuts if cut.is_density and not cut.overdensity]
    return [str(cut) for cut in absolute if cut.before == _WITHOUT_MEAN]


def _kmax(results):
    cuts = [x["cut"] for x in results.get("controls", ())]
    return [cut for cut in cuts if Cut.parse(cut).kind == "kmax"]


CONTROLS = (
    Control(
        "inference",
        f"Mean of each map divided out: R2 above {INFERRED_R2:g} still?",
        "r2", _these(NO_MEAN), INFERRED_R2,
    ),
    Control(
        "inference",
        "White noise added (units of the mean density), the mean divided out: R2 above "
        f"{INFERRED_R2:g}?",
        "noise", _noisy("none"), INFERRED_R2,
    ),
    Control(
        "both-sides",
        "Which pixels were cut is shown alone: does the side left visible tell more?",
        "mask", _these(UNDER, OVER), 0.0,
    ),
    Control(
        "both-sides",
        "Hidden pixels set to the mean or to random values: R2 above 0 still?",
        "r2", _other_fills, 0.0,
    ),
    Control(
        "both-sides",
        "Absolute thresholds on maps without their mean: R2 above 0?",
        "r2", _without_mean, 0.0,
    ),
    Control(
        "both-sides",
        "Noise, then only under-dense pixels: R2 above 0?",
        "noise", _noisy(UNDER), 0.0,
    ),
    Control(
        "both-sides",
        "Noise, then only over-dense pixels: R2 above 0?",
        "noise", _noisy(OVER), 0.0,
    ),
    Control(
        "pixel-and-total",
        "Retraining instead of attribution: does it cost more to hide the over-dense pixels than "
        "what lies under the same mask half a box away?",
        "moved", _these(UNDER), 0.0, reverse=True,
    ),
    Control(
        "pixel-and-total",
        "And less to hide the under-dense ones than what lies under their mask, moved?",
        "moved", _these(OVER), 0.0,
    ),
    Control(
        "saturation",
        "A k_max cut's loss read as that of its scales: is it the same, to "
        f"{LITTLE_LOSS:g}, if the log is filtered and no pixel becomes negative?",
        "field", _kmax, LITTLE_LOSS, above=False, reverse=True,
    ),
    Control(
        "consistency",
        f"Tested maps scaled by themselves: loss of R2 below {LITTLE_LOSS:g}?",
        "scaling", _these(), LITTLE_LOSS, above=False,
    ),
    Control(
        "degradation",
        f"Thresholds in overdensity, which follow the mean: loss of R2 below {MINIMAL_LOSS:g}?",
        "loss", _these(UNDER, OVER), MINIMAL_LOSS, above=False,
    ),
    Control(
        "degradation",
        f"Other fills: loss of R2 below {MINIMAL_LOSS:g}?",
        "loss", _other_fills, MINIMAL_LOSS, above=False,
    ),
    Control(
        "degradation",
        f"The k_max cut, the log filtered: loss of R2 below {MINIMAL_LOSS:g}?",
        "loss", _these(f"{AGGRESSIVE[0]}@log"), MINIMAL_LOSS, above=False,
    ),
)  # fmt: skip
