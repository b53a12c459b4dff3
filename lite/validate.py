"""Validate Lite with the shards of its simulations: 3-D power and particle discreteness.

The power of the 3-D density is compared with theory. The information in maps from other tracer
lattices is compared with that in the shipped maps, because a network must not learn from the
lattice.
"""

from pathlib import Path

import numpy as np

from cosmolib.data.cmd_format import BOX_SIZE, PARAMETERS, RHO_CRIT
from cosmolib.study.io import atomic_path, write_json
from lite.simulate import SimulationSettings, linear_power


def validate(paths, out, rows_3d=40):
    """Validate the simulations and write the result to two files in ``out``.

    ``validation.json`` contains the power of the 3-D density against linear theory and HMcode2020,
    the ratio of the 3-D power of the twins, and the result of `lattice_check`. ``lattice.npz``
    contains the spectra of the log maps of all tracer lattices.

    Parameters
    ----------
    paths : sequence of path
        Shards of rows 0, 1, ... from `lite.generate`.
    out : path
        Folder of the two files.
    rows_3d : int
        Number of leading rows that are compared with theory.

    Returns
    -------
    dict
        Contents of ``validation.json``.
    """
    rows_3d = min(rows_3d, len(paths))
    keys = ("params", "k", "power_nbody", "power_hydro")
    params, k, gravity, feedback = (
        np.array(values) for values in zip(*(_load(path, *keys) for path in paths), strict=True)
    )
    k = k[0]
    shown = k < 10.0  # just above the particles' Nyquist frequency
    theory = {"linear": [], "hmcode": []}
    for omega_m, sigma_8 in params[:rows_3d, :2]:
        for name in theory:
            k_theory, power = linear_power(omega_m, sigma_8, nonlinear=name == "hmcode")
            theory[name].append(np.exp(np.interp(np.log(k), np.log(k_theory), np.log(power))))
    # three cosmologies with low, medium and high clustering
    order = np.argsort(params[:rows_3d, 0] * params[:rows_3d, 1] ** 2)
    chosen = [order[int(round(q * (rows_3d - 1)))] for q in (0.15, 0.5, 0.85)]
    report = {
        "simulations": len(paths),
        "power3d": [
            {
                "row": int(row),
                "omega_m": params[row, 0],
                "sigma_8": params[row, 1],
                "k": k[shown],
                "measured": gravity[row][shown],
                "linear": theory["linear"][row][shown],
                "hmcode": theory["hmcode"][row][shown],
            }
            for row in chosen
        ],
        "power3d_mean": {
            "rows": rows_3d,
            "k": k[shown],
            **{
                f"measured_over_{name}": _quantiles(gravity[:rows_3d] / np.array(power), shown)
                for name, power in theory.items()
            },
        },
        "feedback3d": {
            "k": k[shown],
            "ratio": _quantiles(feedback / gravity, shown),
        },
    }
    spectra, used = _lattice_spectra(paths)
    report["lattice"] = {"simulations": len(used), **lattice_check(spectra, params[used, :2])}
    report["numbers"] = chapter_numbers(report)
    with atomic_path(Path(out) / "lattice.npz") as temporary:
        np.savez(temporary, params=params[used], **spectra)
    write_json(Path(out) / "validation.json", report)
    return report


def chapter_numbers(report):
    """Return the numbers that chapter 01 quotes, under the keys used in its prose."""
    import pandas as pd

    boxes, feedback = report["power3d_mean"], report["feedback3d"]
    linear, hmcode = (pd.DataFrame(boxes[f"measured_over_{name}"]) for name in ("linear", "hmcode"))
    hmcode = hmcode[pd.Series(boxes["k"]).between(3, 5, inclusive="neither")].mean()
    lattice, ratio = report["lattice"], feedback["ratio"]["mean"]
    changes = np.concatenate([[*entry.values()] for entry in lattice["difference"].values()])
    change, low, high = max(changes, key=lambda change: abs(change[0]))
    shipped = np.array([*lattice["r2"]["shipped"].values()])  # (2, 3): R2, low, high
    settings = SimulationSettings()
    return {
        "data-rho-crit": RHO_CRIT,
        "data-mesh": BOX_SIZE / settings.mesh,
        "data-nyquist": np.pi * settings.particles / BOX_SIZE,
        "data-3d-k": boxes["k"][0],
        "data-3d-boxes": boxes["rows"],
        "data-3d-linear": linear["mean"][0],
        "data-3d-linear-error": (linear["q84"][0] - linear["q16"][0]) / 2 / boxes["rows"] ** 0.5,
        "data-3d-hmcode": hmcode["q50"],
        "data-3d-hmcode-mean": hmcode["mean"],
        "data-ratio-3d-large": ratio[0],
        "data-ratio-3d-small": np.interp(5.0, feedback["k"], ratio),
        "data-lattice-simulations": lattice["simulations"],
        "data-lattice-change": change,
        "data-lattice-low": low,
        "data-lattice-high": high,
        "data-lattice-error": (shipped[:, 2] - shipped[:, 1]).min() / 2,
    }


def _quantiles(values, columns):
    """Return mean and quantiles over simulations, for some columns."""
    values = values[:, columns]
    quantiles = np.quantile(values, [0.025, 0.16, 0.5, 0.84, 0.975], axis=0)
    return {
        "mean": values.mean(axis=0),
        **dict(zip(("q025", "q16", "q50", "q84", "q975"), quantiles, strict=True)),
    }


def _lattice_spectra(paths):
    """Return spectra of the log maps for each tracer lattice, float32 (n, 15, nk), and the rows."""
    from cosmolib.data.spectra import power_spectrum  # imports torch, not needed to simulate

    lattices = {"shipped": "nbody", "finer": "variant0", "shifted": "variant1"}
    spectra, used = {name: [] for name in lattices}, []
    for row, path in enumerate(paths):
        with np.load(path, allow_pickle=False) as shard:
            if not set(lattices.values()) <= set(shard.files):
                continue
            used.append(row)
            for name, key in lattices.items():
                _, power = power_spectrum(shard[key], log=True)
                spectra[name].append(power.astype(np.float32))
    return {name: np.array(value) for name, value in spectra.items()}, np.array(used)


def lattice_check(spectra, cosmology, n_bootstrap=1000, seed=0):
    """Compute R2 of a ridge regression on the power of the log map, for each tracer lattice.

    The regression is fitted and tested by five-fold cross-validation over simulations. All lattices
    share the folds and the bootstrap draws, so that differences are paired.

    Parameters
    ----------
    spectra : dict of str to (n, 15, nk)
        Power of the log maps [(Mpc/h)^2], the shipped lattice first.
    cosmology : (n, 2)
        Omega_m and sigma_8.

    Returns
    -------
    dict
        ``r2``: {lattice: {parameter: [R2, low, high]}}; ``difference``: {lattice: {parameter:
        [R2 minus that of the first lattice, low, high]}}, 95 % intervals over simulations.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    n, maps, _ = next(iter(spectra.values())).shape
    truth = np.repeat(cosmology, maps, axis=0).reshape(n, maps, 2)
    draws = np.random.default_rng(seed).integers(n, size=(n_bootstrap, n))
    samples = {}
    for name, power in spectra.items():
        features = np.log10(power)
        predicted = np.empty_like(truth)
        for fit, test in KFold(5, shuffle=True, random_state=seed).split(features):
            ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 4, 15)))
            ridge.fit(features[fit].reshape(-1, features.shape[-1]), truth[fit].reshape(-1, 2))
            predicted[test] = ridge.predict(features[test].reshape(-1, features.shape[-1])).reshape(
                -1, maps, 2
            )
        residual = ((truth - predicted) ** 2).mean(axis=1)  # (n, 2)
        r2 = [1 - residual.mean(axis=0) / truth.var(axis=(0, 1))]
        for draw in draws:
            r2.append(1 - residual[draw].mean(axis=0) / truth[draw].var(axis=(0, 1)))
        samples[name] = np.array(r2)  # (1 + n_bootstrap, 2)

    def summary(values):
        low, high = np.quantile(values[1:], [0.025, 0.975], axis=0)
        return {
            parameter: [values[0, i], low[i], high[i]] for i, parameter in enumerate(PARAMETERS[:2])
        }

    first = next(iter(samples.values()))
    return {
        "r2": {name: summary(values) for name, values in samples.items()},
        "difference": {
            name: summary(values - first) for name, values in samples.items() if values is not first
        },
    }


def _load(path, *keys):
    with np.load(path, allow_pickle=False) as shard:
        return [shard[key] for key in keys]
