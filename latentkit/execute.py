"""Run one notebook by papermill, in a process of its own, and collect what it recorded.

The kernel is this interpreter's own, whatever kernels the user has installed. `Output` widgets get no special care
from the client: keeping their state up to date is what makes notebooks stall at random under nbclient (its issue 312).
"""

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpecManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from latentkit.atomic import replacing
from latentkit.catalog import Notebook

CELL_SECONDS = {"quick": 600, "teaching": 1800}  # a cell that takes longer is stopped; size paper has no limit
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass
class Outcome:
    """Hold how a run ended: `error` is None where it went well; `records` are its json files by figure."""

    copy: Path
    records: dict[str, dict] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None

    @property
    def claims(self) -> list[dict]:
        """Return all claims of the run."""
        return [claim for record in self.records.values() for claim in record.get("claims", ())]


class OwnKernel(KernelSpecManager):
    """Find one kernel only: this interpreter."""

    def _kernel_dirs_default(self) -> list[str]:
        return []


class Client(PapermillNotebookClient):
    """Execute cells without mirroring Output widgets."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.widget_registry = {}
        self.extra_arguments = ["--IPKernelApp.log_level=50"]  # its warnings are no part of the notebook

    def create_kernel_manager(self):
        """Return a kernel manager that starts this interpreter."""
        manager = super().create_kernel_manager()
        manager.kernel_spec_manager = OwnKernel(parent=manager)
        return manager


class OwnEngine(Engine):
    """Let papermill use the client above, with an environment for the kernel."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, *, env=None, timeout=None, on_cell=None, **_):
        """Execute all cells until one fails."""
        client = Client(nb_man, kernel_name="python3", timeout=timeout, startup_timeout=120, on_cell_start=on_cell)
        client.execute(env=env)


papermill_engines.register("latentkit", OwnEngine)


def execute(
    notebook: Notebook,
    folder: Path,
    parameters: dict,
    *,
    figures: Path | None = None,
    environment: dict[str, str] | None = None,
    timeout: float | None = None,
    on_cell: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Run a notebook with some parameters and keep the executed copy.

    folder: takes `<name>.ipynb`, also where a cell fails; parameters: checked ones (`catalog.settle`), none to run
    the notebook as stored; figures: folder that the run saves under, `folder/figures` where not given; environment:
    more variables for the kernel; timeout: of one cell [s]; on_cell: called with the place of a cell and how many
    there are, before each.

    Returns the outcome; a failing notebook is an outcome, no exception.
    """
    figures = figures or folder / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / notebook.path.name
    size = parameters.get("SIZE", notebook.parameters.get("SIZE"))
    # Threads of one process fight those of the next, and numbers repeat to the bit only at one count of threads.
    # Dask's nannies have malloc give back what is freed at once; then every large tensor is mapped and faulted in anew,
    # which made testbeds on 64 x 64 points four times as slow in a sweep, on 96 x 96 ten times.
    env = {name: value for name, value in os.environ.items() if name != "MALLOC_TRIM_THRESHOLD_"}
    env |= {} if size == "paper" or "OMP_NUM_THREADS" in env else {"OMP_NUM_THREADS": "1"}
    env |= {"TQDM_DISABLE": "1", "LATENTKIT_FIGURES": str(figures)} | (environment or {})
    count = len(json.loads(notebook.path.read_text(encoding="utf-8"))["cells"])
    place = {"index": 0, "source": ""}

    def note(cell, cell_index):
        place.update(index=cell_index, source=cell["source"])
        if on_cell:
            on_cell(cell_index, count)

    began, before = time.perf_counter(), _stamps(figures)
    outcome = Outcome(copy)
    try:
        _on_a_living_kernel(
            lambda: papermill.execute_notebook(
                str(notebook.path),
                str(copy),
                parameters=json.loads(json.dumps(parameters)),  # papermill writes a tuple as a text
                engine_name="latentkit",
                kernel_name="python3",
                language="python",
                progress_bar=False,
                cwd=str(notebook.path.parent),
                env=env,
                timeout=timeout or CELL_SECONDS.get(size),
                on_cell=note,
            ),
            started=lambda: bool(place["source"]),
        )
    except PapermillExecutionError as error:
        tail = _plain("\n".join(error.traceback)).strip().splitlines()[-7:-1]
        what = " ".join(f"{error.ename}: {error.evalue}".split())
        outcome.error = "\n".join([_told(notebook, error.cell_index, error.source, what), *tail])
    except (CellTimeoutError, DeadKernelError, RuntimeError) as error:  # the last where a kernel dies at its start
        first = str(error).strip().splitlines()[0]
        outcome.error = _told(notebook, place["index"], place["source"], f"{type(error).__name__}: {first}")
    outcome.seconds = time.perf_counter() - began
    outcome.records = _records(figures, notebook.name, before)
    return outcome


def _on_a_living_kernel(run: Callable[[], object], started: Callable[[], bool], tries: int = 3) -> None:
    """Run again where the kernel died before its first cell: two that start at once can be given one port."""
    for left in reversed(range(tries)):
        try:
            run()
            return
        except RuntimeError as error:
            if not left or started() or isinstance(error, CellTimeoutError | PapermillExecutionError):
                raise


def publish(notebook: Notebook, made: Path, target: Path) -> None:
    """Move a notebook's figures to their place, once all went well.

    What a failing or stopped run leaves would pass for fresh there. The rows of one run (`tables.keep`), whose name
    may be a figure's, are no table of a sweep and stay.
    """
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(f for figure in notebook.figures for f in made.glob(f"{figure}.*")):
        if ".rows." not in file.name:
            shutil.move(file, target / file.name)


def store(copy: Path, notebook: Path) -> None:
    """Write an executed copy back as the stored notebook, such that two equal runs are equal bytes.

    Taken out: papermill's and the widgets' metadata, times, versions. A widget, which no viewer on the web draws,
    becomes a line of text. Counts stay: a fresh kernel counts alike, and nbval takes a cell without one for not run.
    """
    from nbstripout import strip_output

    nb = nbformat.read(copy, as_version=4)
    drop = ["metadata.papermill", "metadata.widgets", "metadata.language_info", "metadata.signature"]
    drop += ["cell.metadata.papermill", "cell.metadata.execution", "cell.metadata.ExecuteTime"]
    nb = strip_output(nb, keep_output=True, keep_count=True, keep_id=True, extra_keys=drop)
    nb.metadata["kernelspec"] = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    nb.metadata["language_info"] = {"name": "python"}
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
        for output in cell.get("outputs", ()):
            if WIDGET in output.get("data", {}):
                output["data"] = {"text/plain": "(an explorer: run the notebook to use it)"}
    with replacing(notebook) as part:
        nbformat.write(nb, part)


def temporary_run(notebook: Notebook, parameters: dict, **options) -> tuple[Outcome, dict[str, bytes]]:
    """Run a notebook in a folder that does not outlive the run; return the outcome and every file it made."""
    with tempfile.TemporaryDirectory(prefix="latentkit-") as name:
        folder = Path(name)
        outcome = execute(notebook, folder, parameters, **options)
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    return outcome, files


def _joined(outputs: list) -> list:
    """Return outputs with each run of pieces of one stream as one: where a kernel cuts its text is chance."""
    joined: list = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output.output_type == "stream" and last.get("name") == output.name:
            last["text"] += output.text
        else:
            joined.append(output)
    return joined


def _stamps(figures: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in figures.glob("*/*.json")}


def _records(figures: Path, name: str, before: dict[Path, int]) -> dict[str, dict]:
    """Return the json files under a folder of figures that a notebook wrote since `before`."""
    found = {}
    for path, stamp in sorted(_stamps(figures).items()):
        if before.get(path) != stamp:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record.get("notebook") == name:
                found[path.stem] = record
    return found


def _told(notebook: Notebook, index: int, source: str, what: str) -> str:
    first = next((line.strip() for line in source.splitlines() if line.strip()), "")
    return f"{notebook.name} stopped in cell {index + 1}, which begins `{first}`: {what}"


def _plain(text: str) -> str:
    """Return text without the escape sequences that color it."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
