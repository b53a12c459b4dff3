"""Types of the public names, for editors and type checkers (see ``__init__.py``)."""

from cosmolib.cuts.apply import apply_cut as apply_cut
from cosmolib.cuts.grammar import Cut as Cut
from cosmolib.data.cmd_format import PARAMETERS as PARAMETERS
from cosmolib.data.suites import open_suite as open_suite
from cosmolib.data.suites import split_simulations as split_simulations
from cosmolib.interpretation.attribution import attribute as attribute
from cosmolib.study.profile import load_profile as load_profile
from cosmolib.training.fit import moment_loss as moment_loss
from cosmolib.training.networks import build_network as build_network
from cosmolib.training.weights import load_published_weights as load_published_weights

__version__: str
