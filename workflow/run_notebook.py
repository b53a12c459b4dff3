"""Execute one notebook with parameters: ``run_notebook.py IN OUT [-p NAME VALUE ...]``.

This wrapper around papermill rejects unknown parameters (papermill only warns), writes the output
only if the whole notebook ran, and keeps a failed copy under another name. A lock prevents two
processes from writing the same output, and each notebook uses one of several GPUs.
"""

import argparse
import ast
import builtins
import itertools
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def literal(path):
    """Escape the braces in a path, which papermill would replace by parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def read_parameters(notebook, texts):
    """Convert texts to parameters with the types of the default values in the notebook.

    papermill's conversion would turn a profile named ``2025`` into a number.
    """
    import papermill

    known = papermill.inspect_notebook(literal(notebook))
    unknown = [name for name in texts if name not in known]
    if unknown:
        raise ValueError(
            f"{notebook} has no parameter {', '.join(map(repr, unknown))}; "
            f"its parameters are {', '.join(known)}"
        )
    flags = {"true": True, "false": False}
    kinds = {str: str, int: int, float: float, bool: lambda text: flags[text.lower()]}
    values = {}
    for name, text in texts.items():
        default = ast.literal_eval(known[name]["default"])
        try:
            values[name] = kinds[type(default)](text)
        except (KeyError, ValueError):
            raise ValueError(
                f"{notebook}: parameter {name!r} must be of type {type(default).__name__}, "
                f"such as {default!r}, but is {text!r}"
            ) from None
    return values


def execute(source, target, parameters):
    """Execute `source` in the root of the repository and write `target` atomically.

    Parameters
    ----------
    source, target : path-like
        Notebook and executed copy, which must differ.
    parameters : dict
        Values for the cell tagged ``parameters``.

    Raises
    ------
    ValueError
        If the target equals the source.
    papermill.PapermillExecutionError
        If a cell fails; the copy with its traceback is kept as ``<target>.failed.ipynb``.
    """
    import ipykernel.kernelspec
    import jupyter_client
    import papermill

    from cosmolib.study.locks import held

    class ThisInterpreter(jupyter_client.AsyncKernelManager):
        """Start this Python, whatever kernels JUPYTER_PATH or the home folder contain."""

        kernel_spec = jupyter_client.kernelspec.KernelSpec(
            resource_dir=ipykernel.kernelspec.RESOURCES, **ipykernel.kernelspec.get_kernel_dict()
        )

    source, target = Path(source).resolve(), Path(target).resolve()
    if source == target:
        raise ValueError(f"{source} cannot be executed in place; choose another output")
    with held(target.with_name(f".{target.stem}.lock"), progress=print):
        for left in target.parent.glob(f".{target.stem}-*.ipynb"):  # of a killed process
            left.unlink()
        failed = target.with_suffix(".failed.ipynb")
        failed.unlink(missing_ok=True)
        temporary = target.with_name(f".{target.stem}-{os.getpid()}.ipynb")
        try:
            papermill.execute_notebook(
                literal(source),
                literal(temporary),
                parameters=parameters,
                cwd=str(ROOT),
                kernel_name="python3",
                kernel_manager_class=ThisInterpreter,
                progress_bar=False,
                stdout_file=sys.stdout if sys.stdout.isatty() else None,
            )
            os.replace(temporary, target)
        except papermill.PapermillExecutionError:
            os.replace(temporary, failed)
            raise
        finally:
            temporary.unlink(missing_ok=True)


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, in the notation of CUDA_VISIBLE_DEVICES."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:  # a cluster sets it for each job
        return [name.strip() for name in given.split(",") if name.strip()]
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(i) for i, line in enumerate(listing.stdout.splitlines()) if line.startswith("GPU")]


@contextmanager
def one_gpu():
    """Reserve one of several GPUs for this process and its children.

    Another process that calls this function gets another GPU or waits for a free one. The GPU of a
    process that dies is released.
    """
    from cosmolib.study.locks import Busy, held

    gpus = visible_gpus()
    if len(gpus) < 2:
        yield
        return
    folder = Path(tempfile.gettempdir()) / f"cosmolib-gpus-{os.getuid()}"
    with ExitStack() as stack:
        for name in itertools.cycle(gpus):
            try:
                stack.enter_context(held(folder / f"{name}.lock", wait=False))
                break
            except Busy:
                time.sleep(0.2)
        os.environ["CUDA_VISIBLE_DEVICES"] = name
        yield


def configure_kernel():
    """Write an IPython profile for all kernels: few warnings, and the repository root as folder.

    By default a kernel warns about TCP ports and when it shuts down, and nbval
    (workflow/check_notebooks.py) starts it in the folder of the notebook.
    """
    from cosmolib.study.io import atomic_path

    folder = ROOT / "build" / ".ipython" / "profile_default"
    line = f"import os; os.chdir({str(ROOT)!r}); del os"
    config = (
        "c = get_config()\nc.IPKernelApp.log_level = 50\n"
        f"c.InteractiveShellApp.exec_lines = [{line!r}]\n"
    )
    with atomic_path(folder / "ipython_kernel_config.py") as temporary:
        temporary.write_text(config, encoding="utf-8")
    os.environ["IPYTHONDIR"] = str(folder.parent)
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"


def main(arguments=None):
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="notebook (.ipynb)")
    parser.add_argument("target", help="executed copy to write")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    options = parser.parse_args(arguments)
    configure_kernel()
    import nbclient
    import papermill

    from cosmolib.cuts.grammar import CutError
    from cosmolib.study.io import exit_code, redact

    logging.getLogger("papermill").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")  # of papermill; the kernel is another process

    def run():
        parameters = read_parameters(options.source, dict(options.p))
        alone = parameters.get("workers", 1) == 1  # several workers reserve GPUs themselves
        with one_gpu() if alone else nullcontext():
            execute(options.source, options.target, parameters)

    try:
        return exit_code("error", run)
    except papermill.PapermillExecutionError as error:
        failed = Path(options.target).with_suffix(".failed.ipynb")
        where = f"{options.source} failed in cell {error.exec_count} (see {failed})"
        kind = CutError if error.ename == "CutError" else getattr(builtins, error.ename, Exception)
        if issubclass(kind, (ValueError, OSError, KeyboardInterrupt)):  # bad input, no bug
            message = redact(" ".join(error.evalue.split()) or "interrupted")
            print(f"error: {where}: {message}", file=sys.stderr)
            return 130 if kind is KeyboardInterrupt else 1
        traceback = redact("\n".join(error.traceback))
        print(f"{where}\n{COLOURS.sub('', traceback)}", file=sys.stderr)
        return 1
    except nbclient.exceptions.DeadKernelError:
        print(
            f"error: {options.source}: the kernel was killed, perhaps because memory ran out; "
            "the same command resumes from the files on disk",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
