"""The ledger: rules decide by intervals, and say so when the data cannot."""

import copy

import numpy as np
import pytest

from cosmolib.results import claims

BOTH = claims.COSMOLOGY


def estimate(value, error=0.02):
    return {"value": value, "low": value - error, "high": value + error}


def both(value, error=0.02):
    return {name: estimate(value, error) for name in BOTH}


def table(**changes):
    """A results table of a study in which every claim holds, at 256 x 256."""
    cuts = ("none", "kmax:20", "kmax:1", "kmin:2", "above:delta=0:clamp", "below:delta=0:clamp")
    loss = {"none": 0.0, "kmax:20": 0.01, "kmax:1": 0.05}
    rows = [
        {
            "suite": suite,
            "cut": cut,
            "r2": both(0.95 - loss.get(cut, 0.03)),
            "difference": both(-loss.get(cut, 0.03), 0.005),
        }
        for suite in ("IllustrisTNG", "Nbody_IllustrisTNG")
        for cut in cuts
    ]
    names = ("IllustrisTNG", "Nbody_IllustrisTNG")
    cross = [
        {
            "trained": a,
            "tested": b,
            "r2": both(0.94),
            "difference": both(0.0 if a == b else -0.01, 0.005),
        }
        for a in names
        for b in names
    ]
    attribution = {
        "baselines": {
            name: {"over_to_under_per_pixel": both(3.0, 0.2), "under_share": both(0.5, 0.05)}
            for name in ("mean_log", "void")
        }
    }
    return {
        "dataset": "CMD",
        "suites": list(names),
        "grid": 256,
        "box_size": 25.0,
        "n_test_simulations": 50,
        "rows": rows,
        "cross": cross,
        "controls": [],
        "attribution": attribution,
        **changes,
    }


def set_row(results, cut, key, value):
    row = claims.find_row(results, "IllustrisTNG", cut)
    row[key] = value


def verdict(results, key):
    found = {item["key"]: item for item in claims.judge(results)}
    assert list(found) == [claim.key for claim in claims.CLAIMS]
    return found[key]


def test_the_six_claims_hold_on_a_table_made_for_them():
    found = claims.judge(table())
    assert [item["number"] for item in found] == [1, 2, 3, 4, 5, 6]
    assert [item["verdict"] for item in found] == ["supported"] * 6
    for item in found:
        assert item["interval"][0] < item["interval"][1]


# One change to the table for each claim that must turn its verdict, and no other's.
@pytest.mark.parametrize(
    ("key", "cut", "quantity", "value"),
    [
        ("inference", "none", "r2", {"Omega_m": estimate(0.95), "sigma_8": estimate(0.3)}),
        ("both-sides", "above:delta=0:clamp", "r2", both(-0.1)),
        ("saturation", "kmax:20", "difference", both(-0.2)),
        ("degradation", "kmax:1", "difference", both(-0.5)),
        ("consistency", None, "difference", both(-0.3)),
        ("pixel-and-total", None, "over_to_under_per_pixel", both(0.9)),
        ("pixel-and-total", None, "under_share", both(0.1)),
    ],
)
def test_each_claim_falls_with_its_own_measurement(key, cut, quantity, value):
    results = table()
    if cut:
        set_row(results, cut, quantity, value)
    elif key == "consistency":
        results["cross"][1]["difference"] = value
    else:
        results["attribution"]["baselines"]["void"][quantity] = value
    found = verdict(results, key)
    assert found["verdict"] == "not supported"
    assert "contradicts" in found["reason"]
    others = [item for item in claims.judge(results) if item["key"] != key]
    assert {item["verdict"] for item in others} == {"supported"}


def test_an_interval_across_the_threshold_supports_nothing():
    results = table()
    set_row(results, "none", "r2", both(0.52, error=0.1))
    found = verdict(results, "inference")
    assert found["verdict"] == "not supported"
    assert "leaves open" in found["reason"]
    np.testing.assert_allclose(found["interval"], (0.42, 0.62))


def test_a_mask_that_tells_as_much_refutes_both_sides():
    results = table()
    cuts = ("above:delta=0:clamp", "below:delta=0:clamp")
    results["controls"] = [
        {
            "suite": "IllustrisTNG",
            "kind": "mask",
            "cut": cut,
            "control": "mask:above:delta=0",
            "difference": both(0.1),
        }
        for cut in cuts
    ]
    assert verdict(results, "both-sides")["verdict"] == "supported"
    results["controls"][1]["difference"] = both(-0.05)
    found = verdict(results, "both-sides")
    assert found["verdict"] == "not supported"
    assert "mask" in found["reason"]


@pytest.mark.parametrize(
    ("grid", "kmax", "reason"), [(64, 6, "8.0 h/Mpc"), (256, 5, "no cut near 20 h/Mpc")]
)
def test_saturation_at_20_needs_a_cut_there(grid, kmax, reason):
    results = table(grid=grid)
    for row in results["rows"]:
        row["cut"] = row["cut"].replace("kmax:20", f"kmax:{kmax}")
    found = verdict(results, "saturation")
    assert found["verdict"] == "not testable on CMD"
    assert reason in found["reason"]
    assert f"k_max = {kmax}" in found["measurement"]


def test_few_test_simulations_decide_nothing():
    found = claims.judge(table(n_test_simulations=1))
    assert {item["verdict"] for item in found} == {"not testable on CMD"}
    assert all(item["measurement"] != "not measured" for item in found)


@pytest.mark.parametrize("key", ["attribution", "cross", "rows"])
def test_what_was_not_run_is_not_testable(key):
    results = table()
    results[key] = []
    affected = {"attribution": "pixel-and-total", "cross": "consistency", "rows": "inference"}[key]
    found = verdict(results, affected)
    assert found["verdict"] == "not testable on CMD"
    assert found["measurement"] == "not measured"


def test_a_missing_interval_is_not_zero():
    results = table()
    set_row(
        results, "none", "r2", {**both(0.9), "sigma_8": {"value": 0.9, "low": None, "high": None}}
    )
    assert verdict(results, "inference")["verdict"] == "not testable on CMD"


def test_extreme_cuts_are_the_most_aggressive_plain_ones():
    results = table()
    template = claims.find_row(results, "IllustrisTNG", "none")
    for cut in (
        "kmax:0.5@log",
        "mask:above:delta=-0.9",
        "above:delta=-0.5:clamp",
        "above:1e11:clamp",
        "above:5e10:random",
        "shuffle:above:delta=-0.9:clamp",
        "below:delta=3:mean",
    ):
        results["rows"].append({**copy.deepcopy(template), "cut": cut})
    assert claims.extreme_cut(results, "kmax") == "kmax:1"
    assert claims.extreme_cut(results, "above", overdensity=True) == "above:delta=-0.5:clamp"
    assert claims.extreme_cut(results, "above", overdensity=False) == "above:1e11:clamp"
    assert claims.extreme_cut(results, "below", overdensity=True) == "below:delta=3:mean"
    assert claims.extreme_cut(results, "below", overdensity=False) is None


def test_an_incomplete_table_is_refused_by_name():
    results = table()
    del results["grid"]
    with pytest.raises(ValueError, match="found no grid"):
        claims.judge(results)
