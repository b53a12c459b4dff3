"""Test the controls of the claims: verdicts follow from intervals; missing runs are reported."""

import pytest
from conftest import both
from test_claims import table

from cosmolib.results import claims, controls

SUITE = "IllustrisTNG"


def rows(**r2):
    return [
        {"suite": SUITE, "cut": cut, "best": both(value), "best_difference": both(value - 0.95)}
        for cut, value in r2.items()
    ]


def found(results, claim, word):
    (row,) = [x for x in controls.judge(results) if x["claim"] == claim and word in x["question"]]
    return row


def test_every_claim_has_a_control():
    assert {x.claim for x in controls.CONTROLS} == {claim.key for claim in claims.CLAIMS}


def test_one_parameter_that_fails_decides():
    (row,) = rows(**{"nomean:none": 0.9})
    row["best"]["sigma_8"] = {"value": 0.2, "low": 0.1, "high": 0.3}
    judged = found(table(control_rows=[row]), "inference", "mean of each")
    assert judged["verdict"] == "does not survive"


def test_the_worst_of_several_cases_decides():
    fills = {"above:delta=0:random": 0.9, "above:delta=5:mean": 0.0, "below:delta=0:random": -0.4}
    results = table(control_rows=rows(**fills))
    row = found(results, "both-sides", "set to the mean")
    assert row["measured"].count("delta=") == 3
    assert row["verdict"] == "does not survive"
    del results["control_rows"][2]
    assert found(results, "both-sides", "set to the mean")["verdict"] == "left open"


def test_noise_survives_up_to_the_first_level_that_does_not():
    values = {"": 0.9, "white=0.1:": 0.9, "white=1:": 0.2, "white=3:": 0.9}
    levels = {f"nomean:{noise}none": value for noise, value in values.items()}
    results = table(control_rows=rows(**levels))
    row = found(results, "inference", "white noise")
    assert row["verdict"] == "survives up to noise 0.1"
    assert row["measured"].count("noise") == 3  # level 0 is the reference
    results = table(control_rows=rows(**{"nomean:white=1:above:delta=0:clamp": -0.2}))
    assert found(results, "both-sides", "under-dense pixels alone")["verdict"] == "does not survive"


OVER_MOVED = ("moved", "pixel-and-total", "cost more", claims.UNDER, f"moved:{claims.UNDER}")
UNDER_MOVED = ("moved", "pixel-and-total", "cost less", claims.OVER, f"moved:{claims.OVER}")
MASK = ("mask", "both-sides", "mask", claims.UNDER, "mask:above:delta=0")
LOG = ("field", "saturation", "k_max", "kmax:4", "kmax:4@log")


@pytest.mark.parametrize(
    ("pair", "difference", "verdict"),
    [
        (MASK, 0.3, "survives"),
        (MASK, -0.3, "does not survive"),
        # If hiding over-dense pixels costs more than the moved mask, R2 is below that of the mask.
        (OVER_MOVED, -0.2, "survives"),
        (OVER_MOVED, 0.2, "does not survive"),
        (UNDER_MOVED, 0.2, "survives"),
        (UNDER_MOVED, 0.01, "left open"),
        (LOG, -0.3, "does not survive"),
        (LOG, 0.0, "survives"),
    ],
)
def test_pairs_are_read_with_their_sign(pair, difference, verdict):
    kind, claim, word, cut, control = pair
    entry = {"kind": kind, "cut": cut, "control": control, "difference": both(difference)}
    results = table(controls=[entry | {"suite": suite} for suite in (SUITE, f"Nbody_{SUITE}")])
    row = found(results, claim, word)
    assert row["verdict"] == verdict
    assert row["measured"].count("[") == 2  # two parameters of the suite with feedback only


def test_pairs_of_cuts_and_controls():
    cuts = [
        "none", "nomean:none", "kmax:4", "kmax:4@log", "kmax:4@delta", "kmax:2@log",
        "above:delta=5:clamp", "above:delta=5:mean", "mask:below:delta=5",
        "below:1e11:random", "mask:above:1e11", "mask:below:1e11",
        "shuffle:below:1e11:random", "white=1:kmax:4", "shuffle:above:delta=5:mean",
        "nomean:below:delta=0:clamp", "maskmean:above:delta=0", "moved:above:delta=5:mean",
    ]  # fmt: skip
    assert set(controls.pairs(cuts)) == {
        ("nomean", "none", "nomean:none"),
        ("field", "kmax:4", "kmax:4@log"),
        ("field", "kmax:4", "kmax:4@delta"),
        ("fill", "above:delta=5:clamp", "above:delta=5:mean"),
        ("mask", "above:delta=5:clamp", "mask:below:delta=5"),
        ("mask", "above:delta=5:mean", "mask:below:delta=5"),
        ("mask", "below:1e11:random", "mask:below:1e11"),
        ("shuffle", "below:1e11:random", "shuffle:below:1e11:random"),
        ("shuffle", "above:delta=5:mean", "shuffle:above:delta=5:mean"),
        ("moved", "above:delta=5:mean", "moved:above:delta=5:mean"),
        ("maskmean", "nomean:below:delta=0:clamp", "maskmean:above:delta=0"),
    }


def with_cases(control, value, error=0.02):
    """Return a table in which all cases of one control have the same number."""
    cuts = [
        "nomean:none", "nomean:white=1:none", f"nomean:white=1:{claims.UNDER}",
        f"nomean:white=1:{claims.OVER}", "above:delta=0:random", "nomean:above:2e11:clamp",
        claims.UNDER, claims.OVER, "mask:above:delta=0", "mask:below:delta=0", "kmax:5",
        "kmax:5@log", f"moved:{claims.UNDER}", f"moved:{claims.OVER}",
    ]  # fmt: skip
    numbers = {"best": both(value, error), "best_difference": both(-value, error)}
    found = [{"suite": SUITE, "cut": cut, **numbers} for cut in cuts]
    sign = -1 if control.reverse or control.kind == "scaling" else 1
    difference = {"suite": SUITE, "difference": both(sign * value, error)}
    pairs = [
        {"kind": kind, "cut": cut, "control": other, **difference}
        for kind, cut, other in controls.pairs(cuts)
    ]
    results = table(rows=found, control_rows=[], controls=pairs)
    for entry in results["cross"]:
        entry |= {"scaling": "tested", "difference": both(sign * value, error)}
    return results


@pytest.mark.parametrize("control", controls.CONTROLS, ids=lambda control: control.question[:40])
def test_every_control_has_all_verdicts(control):
    sign = 1 if control.above else -1

    def judged(results):
        (row,) = [x for x in controls.judge(results) if x["question"] == control.question]
        return row["verdict"]

    passed = judged(with_cases(control, control.threshold + 0.1 * sign))
    assert passed.startswith("survives")
    assert judged(with_cases(control, control.threshold - 0.1 * sign)) == "does not survive"
    assert judged(with_cases(control, control.threshold, error=0.05)) == "left open"
    nothing = table(rows=[], control_rows=[], controls=[], cross=[])
    assert judged(nothing) == "not run"
    few = with_cases(control, control.threshold + 0.1 * sign) | {"n_test_simulations": 2}
    assert judged(few) == "not run"
