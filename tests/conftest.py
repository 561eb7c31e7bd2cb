"""Synthetic studies that tests of analysis and report share; this folder is on the path because of this file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic import Plan, write_study

from slasearch.analysis.frames import StudyFrames, load_frames


@pytest.fixture(scope="session")
def database_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Plan], str]:
    """URL of a database that holds the planned study under the name `synthetic`; each plan is written once."""
    made: dict[Plan, str] = {}

    def make(plan: Plan) -> str:
        if plan not in made:
            folder: Path = tmp_path_factory.mktemp("synthetic")
            made[plan] = f"sqlite:///{folder / 'study.db'}"
            write_study(made[plan], plan=plan)
        return made[plan]

    return make


@pytest.fixture(scope="session")
def frames_of(database_of: Callable[[Plan], str]) -> Callable[[Plan], StudyFrames]:
    """The frames of a planned study."""
    made: dict[Plan, StudyFrames] = {}

    def make(plan: Plan) -> StudyFrames:
        if plan not in made:
            made[plan] = load_frames(database_of(plan), "synthetic")
        return made[plan]

    return make


@pytest.fixture(scope="session")
def frames(frames_of: Callable[[Plan], StudyFrames]) -> StudyFrames:
    """The frames of the whole synthetic study: three phases, three tasks, two measured conditions."""
    return frames_of(Plan())
