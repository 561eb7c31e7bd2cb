"""What `import slasearch` offers to Python programs: the same functions as behind the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slasearch.config.locations import locate
from slasearch.errors import TaskError

if TYPE_CHECKING:
    from slasearch.analysis.frames import StudyFrames
    from slasearch.config.schema import StudyConfig
    from slasearch.search.study import StudySummary

__all__ = ["load_study", "run_study"]


def run_study(
    config: str | Path | Mapping[str, Any] | StudyConfig,
    *,
    tasks: Mapping[str, Mapping[str, object]] | None = None,
    metrics: Mapping[str, Callable[..., float]] | None = None,
    storage: str | None = None,
    address: str | None = None,
    overrides: Sequence[str] = (),
) -> StudySummary:
    """Runs a study to its end, or goes on with it; once it is finished, does nothing.

    Args:
        config: The study: the path of its file, what stands in one as a dict, or a `StudyConfig`.
        tasks: Your own data, for tasks whose source is `object:NAME`: for each NAME the splits `train` and, as far as
            you have them, `validation` and `test` (a missing one is taken off train), each a list of dicts, a pandas
            DataFrame, a data set of Hugging Face's `datasets`, or a pair `(texts, labels)`. What is in them is made
            part of the study: to go on with it takes the same data again.
        metrics: Your own metrics by name, as `tasks.metric` may call them: see `slasearch.register_metric`. Functions
            at the top level of a module that take true and predicted label numbers, two numpy arrays, and return a
            number; higher must be better.
        storage: Database URL; None as on the command line.
        address: Ray cluster (`auto`, `HOST:PORT`); None starts Ray on this machine.
        overrides: Changes of fields, as `a.b=c`.

    Returns:
        How the study stands: `state`, how many trials are in which state, the best value of each objective, device
        seconds. Trials that failed for good are counted there and raise nothing.

    Raises:
        ConfigError: The study is invalid.
        TaskError: Data of a task are missing, belong to no task, or do not fit the task's description.
        RegistryError: A metric's name is taken, or workers could not import its function.
        StudyConflictError: A study of this name exists with other content, or ran on other data.
        LeaseError: Another process runs this study.
        StorageError: The database cannot be used.
    """
    from slasearch.orchestrate.driver import run_study as drive
    from slasearch.tasks.metrics import register_metric

    for name, function in (metrics or {}).items():
        register_metric(name)(function)
    study = _study(config, overrides)
    return drive(study, locate(storage), address=address, data=_own_data(study, tasks or {}))


def load_study(name: str, *, storage: str | None = None) -> StudyFrames:
    """Everything that was measured in a study, as tidy pandas frames.

    Args:
        name: The study.
        storage: Database URL; None as on the command line.

    Raises:
        StudyNotFoundError: There is no study of this name.
        StorageError: The database cannot be read.
    """
    from slasearch.analysis.frames import load_frames

    return load_frames(locate(storage).storage_url, name)


def _study(config: str | Path | Mapping[str, Any] | StudyConfig, overrides: Sequence[str]) -> StudyConfig:
    from slasearch.config.load import plain_study
    from slasearch.config.schema import StudyConfig
    from slasearch.space import checked, load_checked

    if isinstance(config, (str, Path)):
        return load_checked(Path(config), overrides, download=True)
    plain = config.model_dump(by_alias=True) if isinstance(config, StudyConfig) else config
    return checked(plain_study(plain, "config", overrides), download=True)


def _own_data(study: StudyConfig, given: Mapping[str, Mapping[str, object]]) -> dict[str, Mapping[str, object]]:
    """The program's data by the names of the tasks that read them."""
    sources = {task.name: task.source.partition(":") for task in study.tasks}
    places = {task: place for task, (scheme, _, place) in sources.items() if scheme == "object"}
    if set(given) != set(places.values()):
        wanted = ", ".join(dict.fromkeys(places.values())) or "nothing, as no task's source is object:NAME"
        raise TaskError(
            f"study {study.name}: expected in `tasks` {wanted}, got {', '.join(map(str, given)) or 'nothing'}. "
            "Give the data of each source object:NAME under its NAME."
        )
    return {task: given[place] for task, place in places.items()}
