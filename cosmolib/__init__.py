"""Find out which parts of the cosmic web a neural network uses to infer cosmology.

The sub-packages are the steps of the argument, and each imports only earlier ones: ``study``,
``data``, ``cuts``, ``training``, then ``tuning``, ``interpretation`` and ``results``, and finally
``validation``. ``plots`` contains the figures, and ``cli`` the command line.

Examples
--------
>>> from cosmolib import apply_cut, open_suite
>>> suite = open_suite("Lite")
>>> apply_cut(suite.maps[:15], "kmax:4", box_size=suite.box_size).shape
(15, 64, 64)
"""

from importlib import import_module, metadata

# Public names and the modules that define them. Modules are imported on first use, because torch
# takes seconds to import and most commands do not need it.
_PUBLIC = {
    "PARAMETERS": "data.cmd_format",
    "Cut": "cuts.grammar",
    "apply_cut": "cuts.apply",
    "attribute": "interpretation.attribution",
    "build_network": "training.networks",
    "load_profile": "study.profile",
    "load_published_weights": "training.weights",
    "moment_loss": "training.fit",
    "open_suite": "data.suites",
    "split_simulations": "data.suites",
}
__all__ = sorted(_PUBLIC)  # noqa: PLE0605


def __getattr__(name):
    if name == "__version__":
        try:
            return metadata.version("cosmic-web-interpretability")
        except metadata.PackageNotFoundError:  # a clone that was never installed
            return "0+unknown"
    if name in _PUBLIC:
        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return [*globals(), *_PUBLIC]
