"""Which parts of the cosmic web does a neural network get its cosmology from?

One flat module a step, each importing only those before it::

    files -> plugins -> identity -> runs -> locks -> gpus -> states -> devices -> checksums
         -> embedded -> formats -> suites -> checks -> download -> simulate
         -> observing -> grammar -> cuts -> fields -> planted -> answers -> scaling -> spectra
         -> web -> lattice -> shards -> inputs
         -> networks -> training -> studies -> tuning -> scores -> evaluation -> standing
         -> baseline -> transfer -> attribution -> summaries -> sanity -> posteriors -> calibration
         -> claims -> controls -> results -> interpretation -> validation

with the ``plots`` modules, ``explorer`` and ``cli`` outside the chain. Importing the package
itself does no work and imports nothing: start from ``cosmolib.suites.open_suite("Lite")``.
"""


def __getattr__(name):
    """Look up ``__version__`` when it is asked for."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("cosmic-web-interpretability")
    except PackageNotFoundError:  # a clone on the path that was never installed
        return "0+unknown"
