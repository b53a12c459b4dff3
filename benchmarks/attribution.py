"""Measure the speed of attribution compared with a plain loop of captum over single maps.

    python benchmarks/attribution.py            # make bench-attribution
    python benchmarks/attribution.py --maps 8   # a quick test

The reference follows captum's tutorials: one call of the method per map, with the network as it was
trained. Integrated Gradients uses captum's default of 50 Gauss-Legendre points, which is doubled at
most three times while the relative completeness error exceeds the tolerance. Our side is
`cosmolib.interpretation.attribution.attribute` on all maps with the same tolerance. Both sides run
in turn on the CPU with the same number of threads, and the median is written. The network has the
size of the demo profile's and is trained for one epoch.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]  # also where cosmolib is not installed

from camels import hardware  # noqa: E402

from cosmolib.interpretation.attribution import attribute, make_baseline  # noqa: E402
from cosmolib.study.io import write_json  # noqa: E402
from cosmolib.study.profile import load_profile  # noqa: E402
from cosmolib.study.provenance import provenance  # noqa: E402
from cosmolib.training.dataset import prepare_data, study_suite  # noqa: E402
from cosmolib.training.fit import fit, seeded  # noqa: E402
from cosmolib.training.networks import build_network  # noqa: E402

TABLE = ROOT / "results" / "benchmarks" / "attribution.json"
TARGETS = (0, 1)
RAISES = 3


def plain_loop(network, x, method, baseline, samples, tolerance):
    """Attribute with the reference; return values (2 n, N, N) and final completeness errors."""
    from captum.attr import GradientShap, IntegratedGradients, Saliency

    def forward(maps):
        return network(maps)[0]

    found, errors = [], []
    for target in TARGETS:
        for one in x.split(1):
            one = one.clone().requires_grad_()
            if method == "saliency":
                values = Saliency(forward).attribute(one, target=target, abs=False)
            elif method == "gradient_shap":
                values = GradientShap(forward).attribute(
                    one, baselines=baseline, target=target, n_samples=samples
                )
            else:
                with torch.no_grad():
                    way = (forward(one) - forward(baseline))[0, target].abs()
                points = 50
                for attempt in range(RAISES + 1):
                    values, delta = IntegratedGradients(forward).attribute(
                        one, baselines=baseline, target=target, n_steps=points,
                        return_convergence_delta=True,
                    )  # fmt: skip
                    error = float(delta.abs()[0] / way)
                    if tolerance is None or error <= tolerance or attempt == RAISES:
                        break
                    points *= 2
                errors.append(error)
            found.append(values.detach()[0, 0].numpy())
    return np.array(found), np.array(errors)


def ours(network, x, method, baseline, samples, tolerance):
    """Attribute with cosmolib; return values (2 n, N, N) and completeness errors."""
    options = {"n_samples": samples}
    if method == "integrated_gradients":
        options = {"n_steps": 50 if tolerance is None else 16, "tolerance": tolerance}
    found = [attribute(network, x, method, t, baseline=baseline, **options) for t in TARGETS]
    errors = [a.completeness for a in found if a.n_steps is not None]
    return np.concatenate([a.values for a in found]), np.concatenate(errors) if errors else None


def row_of(work, maps, reference, own):
    """Return a row of the table from the seconds of both sides."""
    return {
        "work": work,
        "maps": maps,
        "reference_maps_per_second": maps / reference,
        "maps_per_second": maps / own,
        "ratio": reference / own,
    }


def main(arguments=None):
    """Measure every row, write the table and return it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=TABLE)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    profile = load_profile("demo", epochs=1, train_simulations=60)
    data = prepare_data(study_suite("Lite", profile), profile)
    with seeded(1):
        network = build_network("lite", data.test_x.shape[-1], profile.hidden, profile.dropout, 2)
    fit(network, data, profile, seed=1)
    network.eval()
    x = data.test_x[:: max(1, len(data.test_x) // asked.maps)][: asked.maps].clone()
    baselines = {
        "saliency": None,
        "integrated_gradients": make_baseline("mean_log", x),
        "gradient_shap": make_baseline("training", x, train_x=data.train_x),
    }
    work = [
        ("Saliency", "saliency", None),
        (f"GradientSHAP, {profile.shap_samples} draws", "gradient_shap", None),
        ("Integrated Gradients, 50 points", "integrated_gradients", None),
        ("Integrated Gradients, to 1 %", "integrated_gradients", profile.ig_tolerance),
    ]
    rows = []
    for name, method, tolerance in work:
        arguments = network, x, method, baselines[method], profile.shap_samples, tolerance
        ours(network, x[:2], *arguments[2:])  # so that imports and first calls are not measured
        seconds, errors = {plain_loop: [], ours: []}, {}
        for _ in range(asked.repeats):
            for function in seconds:
                started = time.perf_counter()
                values, errors[function] = function(*arguments)
                seconds[function].append(time.perf_counter() - started)
        row = row_of(name, len(values), *(float(np.median(taken)) for taken in seconds.values()))
        if method == "integrated_gradients":
            for key, function in (("reference_", plain_loop), ("", ours)):
                row[f"{key}median_error"] = float(np.median(errors[function]))
                row[f"{key}complete"] = float((errors[function] <= 0.01).mean())
        rows.append(row)
        print(json.dumps(row), flush=True)
    # The work of chapter 05 with its three methods
    keys = ("reference_maps_per_second", "maps_per_second")
    seconds = [sum(1 / rows[i][key] for i in (0, 1, 3)) for key in keys]  # per map
    rows.append(row_of("the three methods, Integrated Gradients to 1 %", 1, *seconds))
    rows[-1]["maps"] = rows[0]["maps"]
    print(json.dumps(rows[-1]))
    table = {
        "rows": rows,
        "grid": x.shape[-1],
        "threads": asked.threads,
        "machine": f"{hardware()['cpu']}, {asked.threads} threads",
        "provenance": provenance(profile, data.fingerprint),
    }
    write_json(asked.out, table)
    return table


if __name__ == "__main__":
    main()
