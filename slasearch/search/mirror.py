"""One Optuna study twice: in the database for people and for the next run, in memory for sampling and pruning.

Sampling in memory costs no round trip, and a trial appears in the database at once with all its parameters and
attributes, instead of growing by a transaction for each. Both copies number their trials alike, but that the one in
memory may begin with trials of an earlier study, for samplers alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from copy import copy
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from slasearch.errors import StorageError
from slasearch.storage.store import Store

__all__ = ["OURS", "MirroredStudy", "constraint_attributes"]

Direction = Literal["minimize", "maximize"]

OURS = "trial"
"""Attribute of a trial in Optuna with the id of ours that it stands for; somebody else's trial has none."""
_BOUND = "constraints"
"""Begin of the attributes in which Optuna keeps constraints."""
_GENERATION = ":generation"
"""End of the attribute in which samplers that breed keep a trial's generation, without which none goes on after a
restart. Nothing else that a sampler keeps is stored, or read back: some of Optuna's samplers keep pickles there."""


class MirroredStudy:
    """A study of Optuna's, found or made.

    Args:
        storage: The database.
        store: The same database; each write to Optuna's tables is done through it, so that it is done once.
        name: The study's name in Optuna.
        directions: `maximize` or `minimize` for each objective.
        metrics: The objectives' names, for people.
        earlier: Complete trials of another study that samplers learn from too; they stand in memory only.
    """

    def __init__(
        self,
        storage: RDBStorage,
        store: Store,
        name: str,
        directions: Sequence[Direction],
        metrics: Sequence[str],
        earlier: Sequence[FrozenTrial] = (),
    ) -> None:
        self._storage = storage
        self._store = store
        self._name = name
        stored = optuna.create_study(
            storage=storage, study_name=name, directions=directions, sampler=RandomSampler(), load_if_exists=True
        )
        self._study_id = storage.get_study_id_from_name(name)
        if stored.metric_names is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                stored.set_metric_names(list(metrics))
        self._memory = optuna.create_study(directions=directions, sampler=RandomSampler())
        trials = storage.get_all_trials(self._study_id, deepcopy=False)
        self._ids = [trial._trial_id for trial in trials]
        self._states = [trial.state for trial in trials]
        self._numbers = {trial.user_attrs[OURS]: trial.number for trial in trials if OURS in trial.user_attrs}
        self._earlier = len(earlier)
        self._memory.add_trials([*earlier, *map(_in_memory, trials)])
        self._own = _OwnTrials(self._memory, self._earlier)

    def __len__(self) -> int:
        return len(self._ids)

    def number_of(self, trial_id: int) -> int | None:
        """Number of the trial that stood for one of ours when the study was opened; None: it had none."""
        return self._numbers.get(trial_id)

    def unfinished(self) -> list[int]:
        """Numbers of the trials that are waiting or running in the database."""
        return [number for number, state in enumerate(self._states) if not state.is_finished()]

    # ------------------------------------------------------------ a new trial: in memory first, then in the database

    def draw(
        self, sampler: BaseSampler, suggest: Callable[[optuna.Trial], object]
    ) -> tuple[int, dict[str, Any], dict[str, Any]]:
        """A new trial of the sampler's choice, in memory only: its number, its parameters, and what else it keeps."""
        self._memory.sampler = sampler
        trial = self._memory.ask()
        suggest(trial)
        number = trial.number - self._earlier
        return number, trial.params, _kept(self._trial(number))

    def place(
        self, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution], kept: Mapping[str, Any]
    ) -> int:
        """A new trial with given parameters, in memory only: its number.

        `kept` is what the sampler kept of it when it was drawn, without which its generation would never be whole.
        """
        used = {name: distributions[name] for name in params}
        self._memory.add_trial(
            create_trial(state=TrialState.RUNNING, params=dict(params), distributions=used, system_attrs=dict(kept))
        )
        return len(self._memory.get_trials(deepcopy=False)) - self._earlier - 1

    def record(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Writes a new trial to the database, waiting, in one transaction.

        Raises:
            StorageError: The database gave another number: something else writes to this study.
        """
        trial = self._trial(number)
        waiting = create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=dict(attributes),
            system_attrs=_kept(trial),
        )
        made: list[int] = []
        self._store.once(lambda: made.append(self._storage.create_new_trial(self._study_id, waiting)))
        find = partial(self._storage.get_trial_id_from_study_id_trial_number, self._study_id, number)
        trial_id = self._store.patiently(find)
        if made and made[-1] != trial_id:
            raise StorageError(
                f"Optuna study {self._name}: expected trial number {number} to be free for a new trial, got a trial of "
                "that number. Something else adds trials to it; stop that, and run the same command again."
            )
        self._ids.append(trial_id)
        self._states.append(TrialState.WAITING)

    # ------------------------------------------------------------ its life

    def start(self, number: int) -> None:
        """Marks a waiting trial as running in the database."""
        if self._states[number] is TrialState.WAITING:
            self._set_state(number, TrialState.RUNNING)

    def report(self, number: int, percent: int, value: float) -> None:
        """Stores an intermediate value; its step is `percent` of the trial's budget, where the last one counts."""
        self._store.once(partial(self._storage.set_trial_intermediate_value, self._ids[number], percent, value))
        self._memory._storage.set_trial_intermediate_value(self._trial(number)._trial_id, percent, value)

    def judged_bad(self, number: int, pruner: BasePruner) -> bool:
        """What one of Optuna's pruners says of a running trial's last intermediate value."""
        return bool(pruner.prune(self._own, self._trial(number)))

    def tell(
        self,
        number: int,
        state: TrialState,
        values: Sequence[float] | None = None,
        reason: str | None = None,
        constraints: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Ends a trial; does nothing if it has ended before.

        Args:
            number: Which.
            state: How it ended.
            values: Its objectives, if it is complete.
            reason: Becomes the attribute `reason`.
            constraints: How far each bounded value lies beyond its bounds; 0 or less within them.
        """
        if self._states[number].is_finished():
            return
        self.start(number)
        if reason is not None:
            self._store.once(partial(self._storage.set_trial_user_attr, self._ids[number], "reason", reason))
        for name, value in constraint_attributes(constraints).items():
            self._store.once(partial(self._storage.set_trial_system_attr, self._ids[number], name, value))
            self._memory._storage.set_trial_system_attr(self._trial(number)._trial_id, name, value)
        # Optuna gives a pruned trial its last intermediate value; so it is told in memory first.
        self._memory.tell(self._earlier + number, values, state)
        self._set_state(number, state, self._trial(number).values)

    def _set_state(self, number: int, state: TrialState, values: Sequence[float] | None = None) -> None:
        self._store.once(partial(self._storage.set_trial_state_values, self._ids[number], state, values))
        self._states[number] = state

    def _trial(self, number: int) -> FrozenTrial:
        return self._memory.get_trials(deepcopy=False)[self._earlier + number]


class _OwnTrials(optuna.Study):
    """A study without its first trials, as pruners are to see it."""

    def __init__(self, study: optuna.Study, earlier: int) -> None:
        super().__init__(study.study_name, study._storage, study.sampler)
        self._earlier = earlier

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        return [trial for trial in super().get_trials(deepcopy, states) if trial.number >= self._earlier]


def _in_memory(trial: FrozenTrial) -> FrozenTrial:
    """The trial for the study in memory, where a waiting one would be handed out by `ask`."""
    mine = copy(trial)
    mine.system_attrs = _kept(trial)
    if trial.state is not TrialState.WAITING:
        return mine
    mine.state = TrialState.RUNNING
    mine.datetime_start = datetime.now()
    return mine


def _kept(trial: FrozenTrial) -> dict[str, Any]:
    """Of what samplers read beside parameters and values: constraints and generations."""
    attributes = trial.system_attrs
    return {name: attributes[name] for name in attributes if name.endswith(_GENERATION) or name.startswith(_BOUND)}


def constraint_attributes(constraints: Mapping[str, float]) -> dict[str, Any]:
    """As `Trial.set_constraint` writes them, and once more as the list that Optuna's dashboard reads.

    Samplers count both: a Gaussian process then keeps clear of a bound, where else it goes to the edge and half of its
    trials lie up to .5 % beyond.
    """
    if not constraints:
        return {}
    return {**{f"{_BOUND}:{name}": value for name, value in constraints.items()}, _BOUND: list(constraints.values())}
