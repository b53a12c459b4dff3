"""Execute one notebook with parameters: ``run_notebook.py IN OUT [-p NAME VALUE ...]``.

A thin wrapper around papermill with a few additions for the workflow: an unknown parameter is an
error (papermill only warns), the output is written only when the whole notebook ran, and a failed
copy is kept under another name. A lock prevents two processes from writing the same output, and on
a machine with several GPUs each notebook takes one.
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
    """Escape the braces of a path, in which papermill would insert parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def read_parameters(notebook, texts):
    """Convert texts to parameters, each of the type of its default value in the notebook.

    (papermill would turn a profile named ``2025`` into a number.)
    """
    import papermill

    known = papermill.inspect_notebook(literal(notebook))
    unknown = [name for name in texts if name not in known]
    if unknown:
        raise ValueError(
            f"{notebook}: no parameter {', '.join(map(repr, unknown))}; it has {', '.join(known)}"
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
                f"{notebook}: parameter {name!r}: found {text!r}, expected "
                f"{type(default).__name__}, such as {default!r}"
            ) from None
    return values


def execute(source, target, parameters):
    """Run `source` with `parameters` from the repository root and write `target` atomically.

    Parameters
    ----------
    source, target : path-like
        Notebook to run and executed copy to write; they must differ.
    parameters : dict
        Values for the cell tagged ``parameters``.

    Raises
    ------
    ValueError
        If the target is the source.
    papermill.PapermillExecutionError
        If a cell fails; the copy with its traceback is kept as ``<target>.failed.ipynb``.
    """
    import ipykernel.kernelspec
    import jupyter_client
    import papermill

    from cosmolib.study.locks import held

    class ThisInterpreter(jupyter_client.AsyncKernelManager):
        """The kernel of this Python, whatever kernel specs JUPYTER_PATH or the home contains."""

        kernel_spec = jupyter_client.kernelspec.KernelSpec(
            resource_dir=ipykernel.kernelspec.RESOURCES, **ipykernel.kernelspec.get_kernel_dict()
        )

    source, target = Path(source).resolve(), Path(target).resolve()
    if source == target:
        raise ValueError(f"{source}: a notebook is never executed in place; name another output")
    with held(target.with_name(f".{target.stem}.lock"), progress=print):
        for left in target.parent.glob(f".{target.stem}-*.ipynb"):  # by a killed process
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
            )
            os.replace(temporary, target)
        except papermill.PapermillExecutionError:
            os.replace(temporary, failed)
            raise
        finally:
            temporary.unlink(missing_ok=True)


def visible_gpus() -> list[str]:
    """List the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
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
    """Reserve one of several GPUs for this process and its children inside the block.

    Other processes that call this get another GPU, or wait for a free one; a process that dies
    frees its own.
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
    """Set an IPython profile for all kernels: quiet, and in the repository root.

    At its default level the kernel warns about TCP ports and at its own shutdown. papermill sets
    the folder itself; nbval (workflow/check_notebooks.py) would use the folder of the notebook.
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
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="notebook (.ipynb)")
    parser.add_argument("target", help="executed copy to write")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    options = parser.parse_args(arguments)
    configure_kernel()
    import nbclient
    import papermill

    from cosmolib.study.io import exit_code, redact

    logging.getLogger("papermill").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")  # of its dependencies; the kernel is another process

    def run():
        parameters = read_parameters(options.source, dict(options.p))
        alone = parameters.get("workers", 1) == 1  # otherwise its workers take the devices
        with one_gpu() if alone else nullcontext():
            execute(options.source, options.target, parameters)

    try:
        return exit_code("error", run)
    except papermill.PapermillExecutionError as error:
        failed = Path(options.target).with_suffix(".failed.ipynb")
        where = f"{options.source} failed in cell {error.exec_count} (kept as {failed})"
        kind = getattr(builtins, error.ename, Exception)
        if issubclass(kind, (ValueError, OSError, KeyboardInterrupt)):  # not a fault of the code
            said = redact(" ".join(error.evalue.split()) or "interrupted")
            print(f"error: {where}: {said}", file=sys.stderr)
            return 130 if kind is KeyboardInterrupt else 1
        traceback = redact("\n".join(error.traceback))
        print(f"{where}\n{COLOURS.sub('', traceback)}", file=sys.stderr)
        return 1
    except nbclient.exceptions.DeadKernelError:
        print(
            f"error: {options.source}: its kernel was killed, perhaps because memory ran out; "
            "the same command resumes from the files on disk",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
