"""Controls: which part of each published conclusion survives them.

A cut does more than it says. It shows which pixels were cut, a threshold in surface density follows
Omega_m, a sharp filter makes negative pixels, the mean of a map stays, and the maps have no noise.
Each control takes one of these away or lets it act alone, and asks a claim's question again. The
rules and thresholds are those of `cosmolib.results.claims`, on the same results table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from cosmolib.cuts.grammar import DENSITY_CUTS, FIELDS, FILLS, Cut
from cosmolib.results.claims import (
    INFERRED_R2,
    LITTLE_LOSS,
    MIN_TEST_SIMULATIONS,
    MINIMAL_LOSS,
    NotTestable,
    estimates_of,
    extreme_cut,
    find_row,
    hydro_suite,
    negative,
    twin_of,
)

SURVIVES, FAILS, OPEN, NOT_RUN = "survives", "does not survive", "left open", "not run"


def pairs(cuts) -> list[tuple[str, str, str]]:
    """Find the controls among some cuts: (kind, cut, control) for each pair of them.

    ======== ===================================================================================
    mask     a density cut and the mask that it leaves, or its negative, which tells the same
    shuffle  a density cut and as many pixels cut at random places
    fill     a density cut that clamps and the same with another fill
    field    a Fourier cut of the linear map and the same of its log (or delta)
    nomean   a cut and the same of maps divided by their mean
    ======== ===================================================================================
    """
    known = {str(Cut.parse(cut)): Cut.parse(cut) for cut in cuts}
    found = []
    for text, cut in known.items():
        if not cut.is_plain:
            continue
        wanted = [("nomean", replace(cut, before=(("nomean", None),)))]
        if cut.is_density:
            masks = [
                replace(cut, kind=kind, fill=None, control="mask")
                for kind in sorted(DENSITY_CUTS, key=lambda kind: kind != cut.kind)
            ]
            wanted += [("mask", mask) for mask in masks if str(mask) in known][:1]
            wanted.append(("shuffle", replace(cut, control="shuffle")))
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
    measure : callable
        Takes a results table; returns [(what was measured, estimate by parameter), ...], where the
        claim survives a number above (below) the threshold.
    threshold : float
    above : bool
    """

    claim: str
    question: str
    measure: Callable[[dict], list]
    threshold: float
    above: bool


def judge(results: dict) -> list[dict]:
    """Judge every control by a results table.

    Parameters
    ----------
    results : dict
        As `cosmolib.results.claims.judge` takes it, with ``control_rows`` and ``controls``.

    Returns
    -------
    list of dict
        claim (its key), question, measured (text), verdict: "survives" if every 95 % interval lies
        on the claim's side of the threshold, "does not survive" if one lies on the other, else
        "left open"; "not run" where the study has no such case. For noise the verdict says up to
        which level the claim survives.
    """
    return [
        {"claim": control.claim, "question": control.question, **_judge_one(control, results)}
        for control in CONTROLS
    ]


def _judge_one(control, results):
    try:
        cases = control.measure(results)
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
    if control.measure in (_noise_all, _noise_under, _noise_over):
        held = next((i for i, v in enumerate(verdicts) if v != SURVIVES), len(verdicts))
        verdict = f"survives up to {cases[held - 1][0]}" if held else verdicts[0]
        return {"measured": measured, "verdict": verdict}
    order = [FAILS, OPEN, SURVIVES]  # the worst decides
    return {"measured": measured, "verdict": min(verdicts, key=order.index)}


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
def _r2(results, cuts):
    """R2 of the cases that were run, of the suite with feedback."""
    rows = [(cut, find_row(results, hydro_suite(results), cut)) for cut in cuts]
    return [(cut, row["r2"]) for cut, row in rows if row]


def _loss(results, cuts):
    rows = [(cut, find_row(results, hydro_suite(results), cut)) for cut in cuts]
    return [(cut, _minus(row["difference"])) for cut, row in rows if row]


def _minus(entry):
    return {name: negative(x) if x["low"] is not None else x for name, x in entry.items()}


def _compared(results, kind, cuts=None):
    """Pairs (text, difference of R2 cut minus control) of one kind of control."""
    suite = hydro_suite(results)
    return [
        (f"{x['cut']} minus {x['control']}", x["difference"])
        for x in results.get("controls", [])
        if x["kind"] == kind and x["suite"] == suite and (cuts is None or x["cut"] in cuts)
    ]


def _zero(kind):
    return f"{kind}:delta=0:clamp"


def _without_mean(results):
    return _r2(results, ["nomean:none"])


def _noisy(results, base):
    """R2 of all white-noise levels of a case, weakest first."""
    base = Cut.parse(base)
    levels = [
        cut.noise[1]
        for cut in (Cut.parse(row["cut"]) for row in results.get("control_rows", ()))
        if cut.noise and cut.noise[0] == "white" and replace(cut, before=()) == base
    ]
    cuts = [str(replace(base, before=(("white", level),))) for level in sorted(levels) if level]
    return [(f"noise {Cut.parse(c).noise[1]:g}", entry) for c, entry in _r2(results, cuts)]


def _noise_all(results):
    return _noisy(results, "none")


def _noise_under(results):
    return _noisy(results, _zero("above"))


def _noise_over(results):
    return _noisy(results, _zero("below"))


def _over_mask(results):
    return _compared(results, "mask", [_zero(kind) for kind in DENSITY_CUTS])


def _other_fills(results):
    """Density cuts that do not clamp and are no control otherwise."""
    rows = [Cut.parse(r["cut"]) for r in (*results["rows"], *results.get("control_rows", ()))]
    return list(dict.fromkeys(str(c) for c in rows if c.is_plain and c.fill in FILLS[1:]))


def _fills(results):
    return _r2(results, _other_fills(results))


def _nomean_density(results):
    cuts = [Cut.parse(row["cut"]) for row in results.get("control_rows", ())]
    chosen = [str(c) for c in cuts if c.is_density and c.before == (("nomean", None),)]
    return _r2(results, chosen)


def _over_random(results):
    """Over-dense pixels against as many at random: how much more hiding them costs."""
    return [
        (text.replace(" minus ", " against "), _minus(x))
        for text, x in _compared(results, "shuffle", [_zero("above")])
    ]


def _under_random(results):
    return _compared(results, "shuffle", [_zero("below")])


def _filter_artefact(results):
    """How much of a linear filter's loss is not there when the log is filtered."""
    return [
        (text, _minus(x))
        for text, x in _compared(results, "field")
        if text.endswith("@log") and text.startswith("kmax")
    ]


def _own_scaling(results):
    names = {hydro_suite(results), twin_of(results)}
    return [
        (f"{x['trained']} to {x['tested']}", _minus(x["difference"]))
        for x in results["cross"]
        if {x["trained"], x["tested"]} == names and x.get("scaling") == "tested"
    ]


def _overdensity_loss(results):
    cuts = [extreme_cut(results, kind, overdensity=True) for kind in DENSITY_CUTS]
    return _loss(results, [cut for cut in cuts if cut])


def _fill_loss(results):
    return _loss(results, _other_fills(results))


def _log_loss(results):
    rows = [Cut.parse(row["cut"]) for row in results["rows"]]
    logs = [c for c in rows if c.kind == "kmax" and c.field == "log" and c.is_plain]
    return _loss(results, [str(min(logs, key=lambda c: c.values[0]))]) if logs else []


CONTROLS = (
    Control(
        "inference",
        f"Mean of each map divided out: R2 above {INFERRED_R2:g} still?",
        _without_mean, INFERRED_R2, True,
    ),
    Control(
        "inference",
        f"White noise added (units of the mean density): R2 above {INFERRED_R2:g}?",
        _noise_all, INFERRED_R2, True,
    ),
    Control(
        "both-sides",
        "Which pixels were cut is shown alone: does the side left visible tell more?",
        _over_mask, 0.0, True,
    ),
    Control(
        "both-sides",
        "Hidden pixels set to the mean or to random values: R2 above 0 still?",
        _fills, 0.0, True,
    ),
    Control(
        "both-sides",
        "Absolute thresholds on maps without their mean: R2 above 0?",
        _nomean_density, 0.0, True,
    ),
    Control(
        "both-sides",
        "Noise, then only under-dense pixels: R2 above 0?",
        _noise_under, 0.0, True,
    ),
    Control(
        "both-sides",
        "Noise, then only over-dense pixels: R2 above 0?",
        _noise_over, 0.0, True,
    ),
    Control(
        "pixel-and-total",
        "Retraining instead of attribution: does it cost more to hide the over-dense pixels than "
        "as many at random?",
        _over_random, 0.0, True,
    ),
    Control(
        "pixel-and-total",
        "And less to hide the under-dense ones than as many at random?",
        _under_random, 0.0, True,
    ),
    Control(
        "saturation",
        "A k_max cut's loss read as that of its scales: is it the same, to "
        f"{LITTLE_LOSS:g}, if the log is filtered and no pixel becomes negative?",
        _filter_artefact, LITTLE_LOSS, False,
    ),
    Control(
        "consistency",
        f"Tested maps scaled by themselves: loss of R2 below {LITTLE_LOSS:g}?",
        _own_scaling, LITTLE_LOSS, False,
    ),
    Control(
        "degradation",
        f"Thresholds in overdensity, which follow the mean: loss of R2 below {MINIMAL_LOSS:g}?",
        _overdensity_loss, MINIMAL_LOSS, False,
    ),
    Control(
        "degradation",
        f"Other fills: loss of R2 below {MINIMAL_LOSS:g}?",
        _fill_loss, MINIMAL_LOSS, False,
    ),
    Control(
        "degradation",
        f"The smallest k_max, the log filtered: loss of R2 below {MINIMAL_LOSS:g}?",
        _log_loss, MINIMAL_LOSS, False,
    ),
)  # fmt: skip
