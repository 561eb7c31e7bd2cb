"""What the verbs that ask something of a study share: naming trials, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from slasearch.cli._output import emit_json, say

if TYPE_CHECKING:
    from slasearch.storage.rows import RequestRow, TrialRow

__all__ = ["named", "show_request", "trial_option"]

F = TypeVar("F", bound=Callable[..., Any])


def trial_option(text: str) -> Callable[[F], F]:
    """Adds `--trial N`, repeatable."""
    return click.option("--trial", "labels", multiple=True, metavar="N", help=f"{text}: 12, or c3; repeatable.")


def named(rows: Sequence[TrialRow], labels: Iterable[str], state: str, allowed: tuple[str, ...]) -> list[TrialRow]:
    """The last attempts at the trials that are called so, each once.

    Args:
        rows: All attempts of the study.
        labels: What the trials, or earlier attempts at them, are called.
        state: What they are to be, for the message.
        allowed: The states that are that.

    Raises:
        TrialNotFoundError: There is none of that name.
        UsageError: A trial is in another state.
    """
    from slasearch.report.choice import find_trial
    from slasearch.search.winners import last_attempts_at

    found = {}
    for label in labels:
        (row,) = last_attempts_at(rows, [find_trial(rows, label).id])
        if row.state not in allowed:
            raise click.UsageError(f"--trial {label}: expected a trial that {state}, got one that is {row.state}.")
        found[row.id] = row
    return list(found.values())


def show_request(study: str, trials: Sequence[TrialRow], request: RequestRow | None, *, as_json: bool) -> None:
    """Says what came of a request; None: there was nothing to ask for."""
    from slasearch.report.choice import trial_label

    done = request is None or request.done_at is not None
    outcome = "nothing to do" if request is None else request.outcome
    if as_json:
        emit_json({"study": study, "trials": [trial_label(row) for row in trials], "done": done, "outcome": outcome})
    elif done:
        say(f"study {study}: {outcome}")
    else:
        say(f"study {study}: its driver has not answered yet; it does so as soon as it runs trials or is run again.")
