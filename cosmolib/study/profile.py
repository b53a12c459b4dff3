"""The settings of a study: one flat YAML file, checked completely before anything is computed."""

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

# Choices that modules with torch share; this module does not import torch.
ARCHITECTURES = ("o3", "k4s2", "lite")  # the package's own
PRECISIONS = ("auto", "float32", "bfloat16")
COMPILING = ("auto", "eager", "compiled", "graphs")
WIDEST = 1024  # hidden width; a stored network with a larger one is refused as damaged


# --------------------------------------------------------------------------------------------------
# Types: what one value may be
# --------------------------------------------------------------------------------------------------
def _name(text: str) -> str:
    if not is_folder_name(text) or len(text) > 100:  # "-shuffled" is appended
        raise ValueError(f"found {reprlib.repr(text)}, expected {FOLDER_NAME}; at most 100 of them")
    return text


def _suite(text: str) -> str:
    parameter_ranges(text)  # refuses other names
    return text


def _cut(text: str) -> str:
    return str(Cut.parse(text))


def _known_answer_cut(text: str) -> str:
    cut = Cut.parse(text)
    if cut.is_spectral and cut.field in (None, "linear"):
        return str(cut)
    expected = "none or a Fourier cut of the linear map (of other maps, the posterior is unknown)"
    raise ValueError(f"found {text!r}, expected {expected}")


def _architecture(text: str) -> str:
    if text not in (known := (*ARCHITECTURES, *NETWORKS)):
        raise ValueError(f"found {text!r}, expected one of {', '.join(known)}")
    return text


def _unique(values: list) -> list:
    if twice := [value for value in values if values.count(value) > 1]:
        raise ValueError(f"found {twice[0]!r} more than once, expected each entry once")
    return values


_number_as_text = BeforeValidator(  # name: 2025
    lambda value: str(value) if type(value) is int else value, json_schema_input_type=str | int
)
Name = Annotated[str, _number_as_text, AfterValidator(_name)]
Word = Annotated[str, Field(pattern="^[A-Za-z0-9-]{1,50}$")]  # as in CMD's names
SuiteName = Annotated[str, AfterValidator(_suite), Field(examples=list(lite.SUITES))]
CutText = Annotated[str, AfterValidator(_cut), Field(examples=["none", "kmax:4", "above:1e12"])]
KnownCut = Annotated[str, AfterValidator(_known_answer_cut), Field(examples=["none", "kmax:4"])]
Architecture = Annotated[str, AfterValidator(_architecture), Field(examples=list(ARCHITECTURES))]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy's generators take
Count = Annotated[int, Field(ge=1)]
Batch = Annotated[int, Field(ge=2)]  # the moment loss needs a mean
Simulations = Annotated[int, Field(ge=3)]  # one each to train, validate and test on
Width = Annotated[int, Field(ge=1, le=WIDEST)]
Beta = Annotated[float, Field(ge=0, lt=1)]
T = TypeVar("T")
AnyNumber = Annotated[list[T], AfterValidator(_unique)]  # each once
Distinct = Annotated[AnyNumber[T], Field(min_length=1)]


def key(description: str, **limits) -> Any:
    """Describe a key of the file; there is no default."""
    return Field(description=description, **limits)


# --------------------------------------------------------------------------------------------------
# The profile
# --------------------------------------------------------------------------------------------------
class Profile(BaseModel, frozen=True, extra="forbid", strict=True, allow_inf_nan=False):
    """All settings of a study, as in one flat ``configs/<name>.yaml``.

    No field has a default: the file alone documents the study. Values are checked here and nowhere
    else; cuts are kept in canonical form. `load_profile` reads a profile, `replace` changes it.
    """

    name: Name = key("also the folder of its runs, runs/<name>/")
    plugins: list[str] = key("Python files that add suites, cuts, networks or methods")
    answer: Name | None = key("the stored study, results/<name>/, that chapters show; null: itself")

    # Data
    suites: Distinct[SuiteName] = key("Lite and Nbody_Lite, for example: index-matched twins")
    data_dir: str | None = key("folder of CMD files (null: embedded, $COSMOLIB_DATA)", min_length=1)
    field: Word = key("CMD field; Mtot is the one that hydrodynamic and N-body suites share")
    sim_set: Word = key("CMD set; LH = latin hypercube in all six parameters")
    n_simulations: Simulations | None = key("the first n of a suite; null = all; 15 maps each")
    train_simulations: Count | None = key("at most this many of the training part; null = all")
    split_seed: Seed = key("1 = the published split")
    scaling: Literal["log", "asinh", "linear"] = key("published: log; then (x - mean) / std")
    storage: Literal["float32", "float16", "disk"] = key("disk = maps made again for each batch")
    scaling_scope: Literal["train", "file"] = key("pixels behind mean and std; published: file")
    cuts: Distinct[CutText] = key("strings of cosmolib.cuts.grammar; none is the reference")
    controls: AnyNumber[CutText] = key("more cuts, on the first suite alone, as a comparison")

    # Network
    architecture: Architecture = key("lite, o3 (published code), k4s2 (README), or a plugin's")
    targets: Distinct[Literal[PARAMETERS]] = key("predicted; more of them change the moment loss")
    hidden: Width = key("width H, sets the channels of every block; published best 7")
    dropout: float = key("before each fully connected layer; published best 0.209", ge=0, lt=1)

    # Training
    seeds: Distinct[Seed] = key("one training each; the spread is the training noise")
    repeated: AnyNumber[CutText] | None = key(
        "cuts and controls that are trained with every seed, the others with the first; null = all"
    )
    epochs: Count = key("passes over the training maps; published 200")
    batch_size: Batch = key("maps per step; the moment loss averages over it; published 128")
    max_lr: float = key("peak learning rate; published best 4.88e-3", gt=0)
    weight_decay: float = key("AdamW, decoupled; published best 2.44e-4", ge=0)
    betas: list[Beta] = key("AdamW momenta; published 0.5, 0.999", min_length=2, max_length=2)
    schedule: Literal["onecycle", "cyclic"] = key("published: cyclic, 500 steps up, 500 down")
    symmetries: bool = key("random flips and rotations of the square: a map has no orientation")
    shifts: bool = key("random periodic shifts: the box has no origin")
    precision: Literal[PRECISIONS] = key("of convolutions, see cosmolib.training.devices")
    compile: Literal[COMPILING] = key("graphs = CUDA graphs, see cosmolib.training.devices")
    shuffle_labels: bool = key("true = nothing to learn: parameters permuted among the simulations")

    # Evaluation
    average_symmetries: bool = key("predictions averaged over the square's eight symmetries")
    bootstrap_samples: Count = key("resamplings of whole simulations behind each 95 % interval")

    # Tuning
    tuning_suite: SuiteName = key("the suite on which hyper-parameters are searched")
    tuning_trials: Count = key("published 50")
    tuning_epochs: Count = key("epochs per trial")
    tuning_simulations: Simulations | None = key("the first n of the suite; null = n_simulations")

    # Attribution
    attribution_seeds: Distinct[Seed] = key("compared trainings of the first suite, uncut")
    attribution_maps: Count = key("test maps explained")
    attribution_check_maps: Count = key("of these, the maps for the checks and the other baselines")
    ig_steps: Count = key("first steps of Integrated Gradients, tripled for incomplete maps")
    ig_tolerance: float = key("relative completeness error of a complete map", ge=0)
    shap_samples: Count = key("GradientSHAP draws per map; captum's default 5")

    # Validation on maps with a known answer
    known_answer_architecture: Architecture = key("as architecture")
    known_answer_hidden: Width = key("its width")
    known_answer_cuts: Distinct[KnownCut] = key("of Gaussian maps: none and Fourier cuts")
    known_answer_maps: Batch = key("simulated training maps")
    known_answer_epochs: Count = key("passes over them")
    planted_maps: Batch = key("training maps of each planted signal")
    known_answer_batch: Batch = key("maps per step")
    known_answer_max_lr: float = key("peak learning rate: high, because maps are free", gt=0)

    @property
    def cases(self) -> list[tuple[str, str]]:
        """Suite and cut of every training: all cuts of all suites, the controls of the first."""
        cases = [(name, cut) for name in self.suites for cut in self.cuts]
        return list(dict.fromkeys(cases + [(self.suites[0], cut) for cut in self.controls]))

    def seeds_of(self, suite: str, cut: str) -> list[int]:
        """Seeds of the trainings of one case: all, or the first where a case is not repeated."""
        first = suite == self.suites[0] or cut == "none"  # what decides a claim
        repeat = self.repeated is None or (cut in self.repeated and first)
        return self.seeds if repeat else self.seeds[:1]

    @property
    def shuffled(self) -> "Profile":
        """The same with shuffled labels, in a separate folder: a control."""
        return self.model_copy(update={"shuffle_labels": True, "name": f"{self.name}-shuffled"})

    def replace(self, **changes) -> "Profile":
        """Return the profile with some settings changed; checked like those of a file."""
        return _validated(dict(self) | changes, lambda key: f"profile {self.name}")

    @pydantic.field_validator("plugins")
    @classmethod
    def _executed(cls, value, info):
        """Execute the plugins of a file: they define names that the keys below may use."""
        if info.context is None:
            return value
        paths = [str((info.context / name).resolve()) for name in value]
        load_plugins(paths)
        return paths

    @pydantic.model_validator(mode="after")
    def _consistent(self):
        """Refuse combinations that would certainly fail, though each value is valid."""
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
# Reading one
# --------------------------------------------------------------------------------------------------
def load_profile(name_or_path: str | int | Path, **overrides) -> Profile:
    """Read and check a profile; its plugins are executed first.

    Parameters
    ----------
    name_or_path
        A name, for ``configs/<name>.yaml`` in the repository or the current folder, or a path to a
        ``.yaml`` file. (papermill turns ``-p profile 2025`` into a number.)
    **overrides
        Values that replace those of the file, checked like them.

    Returns
    -------
    Profile
        Its ``plugins`` are absolute paths; in the file they are relative to the file's folder.

    Raises
    ------
    FileNotFoundError
        No such file; lists the names that exist.
    ValueError
        One line per fault: file and key, what was found, what is expected. Or a plugin fails, see
        `cosmolib.study.registry.load_plugins`.
    """
    path = _profile_path(str(name_or_path))

    def source(key):
        return f"override of {path}" if key in overrides else str(path)

    folder = Path() if "plugins" in overrides else path.parent
    return _validated(read_yaml(path) | overrides, source, folder)


def _validated(values: dict, source, folder: Path | None = None) -> Profile:
    """Make a profile, or raise one ValueError with a line per fault; ``source(key)`` begins it."""
    try:
        return Profile.model_validate({str(k): v for k, v in values.items()}, context=folder)
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False)
    # Without its plugins, a profile has more unknown names.
    found = [fault for fault in found if fault["loc"][:1] == ("plugins",)] or found
    missing = [fault["loc"][0] for fault in found if fault["type"] == "missing"]
    lines = [_line(fault, source) for fault in found if fault["type"] != "missing"]
    if missing:
        lines.append(f"{source('')}: found no key {', '.join(missing)}, expected every profile key")
    raise ValueError("\n".join(lines))


def _line(fault: dict[str, Any], source) -> str:
    """Describe one fault that pydantic, or a validator of ours, found."""
    reasons = fault["ctx"]["error"].args if fault["type"] == "value_error" else ()
    key, *entry = fault["loc"] or reasons  # of `Profile._consistent`: key and reason
    if fault["type"] == "extra_forbidden":
        known = get_close_matches(key, Profile.model_fields) or Profile.model_fields
        return f"{source(key)}: found unknown key {key!r}, expected one of: {', '.join(known)}"
    # "Input should be a valid integer", "List should have at least 1 item after ..., not 0"
    expected = re.sub(r"^\w+ should (be |have |match )?| after validation.*", "", fault["msg"])
    reason = (
        reasons[-1] if reasons else f"found {reprlib.repr(fault['input'])}, expected {expected}"
    )
    place = f"key {key!r}" + (f", entry {entry[0] + 1}" if fault["loc"][1:] else "")
    return f"{source(key)}: {place}: {reason}"


def _profile_path(name: str) -> Path:
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return path
    folders = [Path("configs"), REPOSITORY / "configs"]
    files = {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}
    if name not in files:
        expected = f"the path of a .yaml file or one of: {', '.join(files)}"
        raise FileNotFoundError(f"configs/{name}.yaml: found no such profile, expected {expected}")
    return files[name]
