"""Make the interactive gallery of chapter 05."""

from book.explorer.explorer import attribution_explorer
from cosmolib.interpretation.attribution import BASELINES, METHODS, takes_baseline
from cosmolib.interpretation.subject import USUAL_BASELINE, Subject, explain
from cosmolib.plots.attribution import attribution_gallery
from cosmolib.plots.style import DENSITY_RANGE, METHOD_NAMES
from cosmolib.study import registry


def subject_explorer(subject: Subject) -> str:
    """Return an interactive gallery of a subject's maps with all methods and baselines, as HTML."""
    choices = [("saliency", None), ("smooth_grad", None)]
    choices += [(m, "mean_log" if takes_baseline(m) else None) for m in registry.METHODS]
    choices += [("integrated_gradients", baseline) for baseline in BASELINES]
    choices += [("gradient_shap", baseline) for baseline in ("training", "uniform", "void")]
    found = {
        (target, method, baseline): explain(subject, method, column, baseline).values
        for target, column in subject.targets.items()
        for method, baseline in choices
    }
    entries = {
        (t.replace("_", " "), METHOD_NAMES.get(m, m), BASELINES.get(baseline, "none")): values
        for (t, m, baseline), values in found.items()
    }
    titles = [
        f"{i}: Omega m = {p[0]:.2f}, sigma 8 = {p[1]:.2f}" for i, p in enumerate(subject.params, 1)
    ]
    first = next(iter(subject.targets))
    shown = {METHOD_NAMES[m]: found[first, m, USUAL_BASELINE.get(m)][:2] for m in METHODS}
    still, _ = attribution_gallery(subject.maps[:2], shown, ["map 1", "map 2"], subject.box_size)
    alt = "Density of two maps and, next to each, its attribution by three methods"
    return attribution_explorer(
        subject.maps, entries, titles, subject.box_size, DENSITY_RANGE, still, alt
    )
