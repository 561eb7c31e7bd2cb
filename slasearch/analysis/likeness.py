"""Whether scores of several studies may be compared at all, and what else is unlike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.measure import CLEAN, Measure
from slasearch.config.plain import stored_json
from slasearch.errors import ReportError

__all__ = ["data_of", "refuse_same_data", "refuse_unlike", "same_sources", "unlike_settings"]


def data_of(frames: StudyFrames) -> dict[str, str]:
    """Digests of the data that a study ran on, by task; nothing if they are not known."""
    found: dict[str, str] = stored_json(frames.study.data or "{}")
    return found


def refuse_same_data(studies: Mapping[str, StudyFrames]) -> None:
    """Refuses studies that share the data of a task: averaged as if they were independent, examples would count twice.

    Args:
        studies: By the names that they are to be called by, with the tasks that are averaged.

    Raises:
        ReportError: Two of them have a task on the same data; the text names both.
    """
    seen: dict[str, str] = {}
    for label, frames in studies.items():
        mine = {task: digest for task, digest in data_of(frames).items() if task in frames.tasks}
        for task, digest in mine.items():
            if digest in seen:
                raise ReportError(
                    "Average over studies: expected data of its own in each, so that no test example counts twice, got "
                    f"the data of {task} in {seen[digest]} and in {label}. Leave one of them out, or compare them "
                    "without --pooled (sizes with --by-size)."
                )
        seen |= dict.fromkeys(mine.values(), label)


def same_sources(studies: Mapping[str, StudyFrames]) -> Iterator[str]:
    """Tasks of several studies that have one source, such as the same file under other limits.

    Their data differ as a whole (`refuse_same_data`), and may yet have test examples in common.
    """
    seen: dict[str, str] = {}
    for label, frames in studies.items():
        for task in frames.config.tasks:
            if task.source in seen:
                yield (
                    f"{seen[task.source]} and {label} have tasks from {task.source}: test examples that are in both "
                    "count twice, and intervals are too narrow then"
                )
        seen |= dict.fromkeys((task.source for task in frames.config.tasks), label)


def refuse_unlike(studies: Mapping[str, StudyFrames], measure: Measure) -> None:
    """Refuses studies whose scores may not be compared.

    Args:
        studies: By the names that they are to be called by.
        measure: What is compared.

    Raises:
        ReportError: Tasks, metrics, data or disturbances differ, or it is not known what data a study ran on; the text
            names all of it.
    """
    first, *others = studies
    if not others:
        return
    problems = [f"no digest of the data of {label}" for label, frames in studies.items() if not frames.study.data]
    for label in others:
        problems += _unlike(studies[first], studies[label], label, measure)
    if problems:
        raise ReportError(
            f"Comparison between studies: expected tasks, metrics and data as in study {first}, "
            f"got {'; '.join(problems)}. Name studies that were run on the same tasks."
        )


def _unlike(first: StudyFrames, other: StudyFrames, label: str, measure: Measure) -> Iterator[str]:
    """What makes scores of the two incomparable."""
    if set(first.tasks) != set(other.tasks):
        yield f"in {label} the tasks {', '.join(other.tasks)} instead of {', '.join(first.tasks)}"
        return
    metrics = [task for task in first.tasks if first.task_metrics[task] != other.task_metrics[task]]
    if metrics:
        yield f"in {label} other metrics for {', '.join(f'{task} ({other.task_metrics[task]})' for task in metrics)}"
    before, after = data_of(first), data_of(other)
    changed = [task for task in first.tasks if before.get(task) != after.get(task)]
    if before and after and changed:
        yield f"in {label} other data for {', '.join(changed)}"
    if measure.condition != CLEAN and _disturbance(first, measure) != _disturbance(other, measure):
        yield f"in {label} another seed or scale of {measure.condition}"


def _disturbance(frames: StudyFrames, measure: Measure) -> list[tuple[int, float | None]]:
    measured = frames.config.conditions.measured
    return [(one.seed, one.scale) for one in measured if one.kind == measure.condition]


def unlike_settings(studies: Mapping[str, StudyFrames]) -> Iterator[str]:
    """Settings that decide what a score means and may differ without making a comparison wrong."""
    first, *others = studies
    for other in others:
        mine, theirs = studies[first].config, studies[other].config
        if mine.backbone.id != theirs.backbone.id:
            yield f"{other} has another backbone: {theirs.backbone.id}, {first} {mine.backbone.id}"
        lengths = {task.name: task.max_tokens for task in mine.tasks}
        cut = [task.name for task in theirs.tasks if task.max_tokens != lengths[task.name]]
        if cut:
            yield f"{other} cuts texts at another length than {first}: {', '.join(cut)}"
