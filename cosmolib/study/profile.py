"""Read and check the settings of a study from one flat YAML file."""

import re
import reprlib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from cosmolib.cuts.grammar import Cut
from cosmolib.data import lite
from cosmolib.data.cmd_format import PARAMETERS, SIMULATIONS
from cosmolib.data.tables import parameter_ranges
from cosmolib.study.io import FOLDER_NAME, REPOSITORY, is_folder_name, read_yaml
from cosmolib.study.registry import NETWORKS, load_plugins

# Choices that other modules share; they are defined here because this module does not import torch.
ARCHITECTURES = ("o3", "k4s2", "lite")  # defined by the package itself
PRECISIONS = ("auto", "float32", "bfloat16")
COMPILING = ("auto", "eager", "compiled", "graphs")
WIDEST = 1024  # largest hidden width; a stored network with a larger one is refused as damaged


# --------------------------------------------------------------------------------------------------
# Types of the values
# --------------------------------------------------------------------------------------------------
def _name(value) -> str:
    text = str(value) if type(value) is int else value  # name: 2025
    if not is_folder_name(text) or len(text) > 100:  # "-shuffled" is appended
        raise ValueError(f"found {reprlib.repr(text)}, expected {FOLDER_NAME}; at most 100 of them")
    return text


def _suite(text: str) -> str:
    parameter_ranges(text)  # raises an error for an unknown name
    return text


def _known_answer_cut(text: str) -> str:
    cut = Cut.parse(text)
    if cut.is_spectral and cut.field in (None, "linear"):
        return str(cut)
    expected = "none or a Fourier cut of the linear map (the posterior of other maps is unknown)"
    raise ValueError(f"found {text!r}, expected {expected}")


def _architecture(text: str) -> str:
    if text not in (known := (*ARCHITECTURES, *NETWORKS)):
        raise ValueError(f"found {text!r}, expected one of {', '.join(known)}")
    return text


def _unique(values: list) -> list:
    if twice := [value for value in values if values.count(value) > 1]:
        raise ValueError(f"found {twice[0]!r} more than once, expected each entry once")
    return values


_canonical_cut = AfterValidator(lambda text: str(Cut.parse(text)))
Name = Annotated[str, BeforeValidator(_name, json_schema_input_type=str | int)]
Word = Annotated[str, Field(pattern="^[A-Za-z0-9-]{1,50}$")]  # as in file names of CMD
SuiteName = Annotated[str, AfterValidator(_suite), Field(examples=list(lite.SUITES))]
CutText = Annotated[str, _canonical_cut, Field(examples=["none", "kmax:4", "above:1e12"])]
KnownCut = Annotated[str, AfterValidator(_known_answer_cut), Field(examples=["none", "kmax:4"])]
Architecture = Annotated[str, AfterValidator(_architecture), Field(examples=list(ARCHITECTURES))]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # range of numpy's seeds
Count = Annotated[int, Field(ge=1)]
Batch = Annotated[int, Field(ge=2)]  # the moment loss averages over the batch
Simulations = Annotated[int, Field(ge=3)]  # at least one each for training, validation and test
Width = Annotated[int, Field(ge=1, le=WIDEST)]
Beta = Annotated[float, Field(ge=0, lt=1)]
T = TypeVar("T")
AnyNumber = Annotated[list[T], AfterValidator(_unique)]  # without repetition
Distinct = Annotated[AnyNumber[T], Field(min_length=1)]


def key(description: str, **limits) -> Any:
    """Describe a key of the profile; no key has a default."""
    return Field(description=description, **limits)


# --------------------------------------------------------------------------------------------------
# The profile
# --------------------------------------------------------------------------------------------------
class Profile(BaseModel, frozen=True, extra="forbid", strict=True, allow_inf_nan=False):
    """Store all settings of a study, as read from a flat ``configs/<name>.yaml``.

    No field has a default, so that the file alone documents the study. All values are checked here;
    cuts are stored in canonical form. `load_profile` reads a profile, and `replace` returns a
    changed copy.
    """

    name: Name = key("name of the study, and of the folder of its runs, runs/<name>/")
    plugins: list[str] = key("Python files that register suites, cuts, networks or methods")
    answer: Name | None = key("stored study, results/<name>/, that chapters show; null = this one")

    # Data
    suites: Distinct[SuiteName] = key("such as the index-matched twins Lite and Nbody_Lite")
    uncut_suites: AnyNumber[SuiteName] = key("further suites, trained on uncut maps only")
    data_dir: str | None = key("CMD files; null = embedded or $COSMOLIB_DATA", min_length=1)
    field: Word = key("CMD field; only Mtot exists in both hydrodynamic and N-body suites")
    sim_set: Word = key("CMD set; LH = latin hypercube in all six parameters")
    n_simulations: Simulations | None = key("simulations used, 15 maps each; null = all")
    train_simulations: Count | None = key("largest number of training simulations; null = all")
    split_seed: Seed = key("seed of the split by simulation; 1 = published split")
    scaling: Literal["log", "asinh", "linear"] = key("before (x - mean) / std; published: log")
    storage: Literal["float32", "float16", "disk"] = key("disk = read again for each batch")
    scaling_scope: Literal["train", "file"] = key("pixels that give mean and std; published: file")
    cuts: Distinct[CutText] = key("see cosmolib.cuts.grammar; none is the reference")
    controls: AnyNumber[CutText] = key("further cuts, of the first suite only, for comparison")

    # Network
    architecture: Architecture = key("lite, o3 (published code), k4s2 (its README) or a plugin")
    targets: Distinct[Literal[PARAMETERS]] = key("predicted; the loss depends on their number")
    hidden: Width = key("width H, which sets the channels of every block; published best 7")
    dropout: float = key("rate before each fully connected layer; published best 0.209", ge=0, lt=1)

    # Training
    seeds: Distinct[Seed] = key("one training per seed; the spread is the training noise")
    repeated: AnyNumber[CutText] | None = key(
        "cuts and controls trained with every seed, the others with the first only; null = all"
    )
    epochs: Count = key("passes over the training maps; published 200")
    batch_size: Batch = key("maps per step; the moment loss averages over it; published 128")
    max_lr: float = key("peak learning rate; published best 4.88e-3", gt=0)
    weight_decay: float = key("AdamW, decoupled; published best 2.44e-4", ge=0)
    betas: list[Beta] = key("AdamW momenta; published 0.5, 0.999", min_length=2, max_length=2)
    schedule: Literal["onecycle", "cyclic"] = key("published: cyclic, 500 steps up, 500 down")
    symmetries: bool = key("random flips and rotations: a map has no preferred orientation")
    shifts: bool = key("random periodic shifts: the box has no preferred origin")
    precision: Literal[PRECISIONS] = key("precision of convolutions, see cosmolib.training.devices")
    compile: Literal[COMPILING] = key("graphs = CUDA graphs, see cosmolib.training.devices")
    shuffle_labels: bool = key("true = parameters permuted among simulations, nothing to learn")

    # Evaluation
    average_symmetries: bool = key("average predictions over the eight symmetries of the square")
    bootstrap_samples: Count = key("resamplings of whole simulations for each 95 % interval")

    # Tuning
    tuning_suite: SuiteName = key("suite on which hyper-parameters are searched")
    tuning_trials: Count = key("number of trials; published 50")
    tuning_epochs: Count = key("epochs per trial")
    tuning_simulations: Simulations | None = key("number of simulations; null = n_simulations")

    # Attribution
    attribution_seeds: Distinct[Seed] = key("trainings of the first suite without a cut to compare")
    attribution_maps: Count = key("number of test maps that are explained")
    attribution_check_maps: Count = key("number of them for sanity checks and other baselines")
    ig_steps: Count = key("initial steps of Integrated Gradients, tripled for incomplete maps")
    ig_tolerance: float = key("largest relative completeness error of a complete map", ge=0)
    shap_samples: Count = key("draws of GradientSHAP per map; captum's default 5")

    # Validation on maps with an analytic posterior or an injected signal
    known_answer_architecture: Architecture = key("network for maps with an analytic posterior")
    known_answer_hidden: Width = key("width of this network")
    known_answer_cuts: Distinct[KnownCut] = key("cuts of Gaussian maps: none or Fourier cuts")
    known_answer_maps: Batch = key("number of simulated training maps")
    known_answer_epochs: Count = key("passes over them")
    planted_maps: Batch = key("number of training maps per injected signal")
    known_answer_batch: Batch = key("maps per step")
    known_answer_max_lr: float = key("peak learning rate; high, since new maps cost nothing", gt=0)

    @property
    def cases(self) -> list[tuple[str, str]]:
        """Suite and cut of every training: all cuts of all suites, controls of the first suite."""
        cases = [(name, cut) for name in self.suites for cut in self.cuts]
        cases += [(self.suites[0], cut) for cut in self.controls]
        return list(dict.fromkeys(cases + [(name, "none") for name in self.uncut_suites]))

    def seeds_of(self, suite: str, cut: str) -> list[int]:
        """Return the seeds of one case: all if it is repeated, otherwise the first."""
        first = suite == self.suites[0] or cut == "none"  # the claims compare these cases
        repeat = self.repeated is None or (cut in self.repeated and first)
        return self.seeds if repeat else self.seeds[:1]

    @property
    def shuffled(self) -> "Profile":
        """The same profile with shuffled labels, which is a control, in a separate folder."""
        return self.model_copy(update={"shuffle_labels": True, "name": f"{self.name}-shuffled"})

    def replace(self, **changes) -> "Profile":
        """Return a copy with changed settings, which are checked like those of a file."""
        return _validated(dict(self) | changes, f"profile {self.name}")

    @pydantic.field_validator("plugins")
    @classmethod
    def _executed(cls, value, info):
        """Execute the plugins, which register names that the following keys may use."""
        if info.context is None:
            return value
        paths = [str((info.context / name).resolve()) for name in value]
        load_plugins(paths)
        return paths

    @pydantic.model_validator(mode="after")
    def _consistent(self):
        """Refuse combinations that cannot work although each value is valid."""
        own = self.data_dir is not None or {*self.suites}.isdisjoint(lite.SUITES)
        sets, most = " or ".join(lite.SETS), SIMULATIONS.get(self.sim_set, float("inf"))
        n, n_tuning = self.n_simulations or 0, self.tuning_simulations or 0
        for key, valid, expected in (
            ("cuts", "none" in self.cuts, "'none' among them: the reference of all cuts"),
            ("targets", {"Omega_m", "sigma_8"} & {*self.targets}, "Omega_m or sigma_8 among them"),
            ("field", own or self.field == "Mtot", "Mtot, as embedded"),
            ("sim_set", own or self.sim_set in lite.SETS, f"{sets}, as embedded"),
            ("n_simulations", own or n <= most, f"at most {most}, as embedded"),
            ("tuning_simulations", own or n_tuning <= most, f"at most {most}, as embedded"),
        ):
            if not valid:
                raise ValueError(key, f"found {getattr(self, key)!r}, expected {expected}")
        return self


# --------------------------------------------------------------------------------------------------
# Reading a profile
# --------------------------------------------------------------------------------------------------
def load_profile(name_or_path: str | int | Path, **overrides) -> Profile:
    """Read a profile, execute its plugins and check every value.

    Parameters
    ----------
    name_or_path
        Name of a file ``configs/<name>.yaml`` in the current folder or the repository, or the path
        of a ``.yaml`` file. Integers are accepted because papermill converts ``-p profile 2025``.
    **overrides
        Values that replace those of the file; they are checked in the same way.

    Returns
    -------
    Profile
        Its ``plugins`` are absolute paths; in the file they are relative to the folder of the file.

    Raises
    ------
    FileNotFoundError
        The file does not exist; the message lists the known names.
    ValueError
        One line per fault, with file, key, value and what is allowed; or a plugin fails (see
        `cosmolib.study.registry.load_plugins`).
    """
    path = _profile_path(str(name_or_path))
    folder = Path() if "plugins" in overrides else path.parent
    return _validated(read_yaml(path) | overrides, path, folder, overrides)


def _validated(values: dict, source, folder: Path | None = None, overrides=()) -> Profile:
    """Return a profile, or raise a ValueError with one line per fault, led by its source."""
    try:
        return Profile.model_validate({str(k): v for k, v in values.items()}, context=folder)
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False)
    # If a plugin fails, the names that it registers are unknown: report only the plugin.
    found = [fault for fault in found if fault["loc"][:1] == ("plugins",)] or found
    missing = [fault["loc"][0] for fault in found if fault["type"] == "missing"]
    faults = [_described(fault) for fault in found if fault["type"] != "missing"]
    lines = [f"{'override of ' * (key in overrides)}{source}: {text}" for key, text in faults]
    if missing:
        lines.append(f"{source}: found no key {', '.join(missing)}, expected every profile key")
    raise ValueError("\n".join(lines))


def _described(fault: dict[str, Any]) -> tuple[str, str]:
    """Return the key and a description of a fault found by pydantic or a validator above."""
    reasons = fault["ctx"]["error"].args if fault["type"] == "value_error" else ()
    key, *entry = fault["loc"] or reasons  # `Profile._consistent` raises key and reason
    if fault["type"] == "extra_forbidden":
        known = get_close_matches(key, Profile.model_fields) or Profile.model_fields
        return key, f"found unknown key {key!r}, expected one of: {', '.join(known)}"
    # "Input should be a valid integer", "List should have at least 1 item after ..., not 0"
    expected = re.sub(r"^\w+ should (be |have |match )?| after validation.*", "", fault["msg"])
    found = f"found {reprlib.repr(fault['input'])}, expected {expected}"
    place = f"key {key!r}" + (f", entry {entry[0] + 1}" if fault["loc"][1:] else "")
    return key, f"{place}: {reasons[-1] if reasons else found}"


def _profile_path(name: str) -> Path:
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        if not path.is_file():
            raise FileNotFoundError(f"{path.absolute()}: found no such profile")
        return path
    folders = [Path("configs"), REPOSITORY / "configs"]
    files = {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}
    if name not in files:
        expected = f"the path of a .yaml file or one of: {', '.join(files)}"
        raise FileNotFoundError(f"configs/{name}.yaml: found no such profile, expected {expected}")
    return files[name]
