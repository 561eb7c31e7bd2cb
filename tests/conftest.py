"""Synthetic studies that tests share, and a PostgreSQL server; this folder is on the path because of this file.

What the fixtures need is imported inside them, so that other tests do not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from slasearch.orchestrate.local_ray import require_token

if TYPE_CHECKING:
    from postgres import Cluster
    from synthetic import Plan

    from slasearch.analysis.frames import StudyFrames
    from slasearch.report.results import Results

# Ray settles once for a process whether it asks for tokens, and one that does starts no actors on clusters that do not:
# all of the tests' clusters ask for the same one.
require_token()


@pytest.fixture(scope="session")
def database_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Plan], str]:
    """URL of a database that holds the planned study under the name `synthetic`; each plan is written once."""
    from synthetic import write_study

    made: dict[Plan, str] = {}

    def make(plan: Plan) -> str:
        if plan not in made:
            made[plan] = f"sqlite:///{tmp_path_factory.mktemp('synthetic') / 'study.db'}"
            write_study(made[plan], plan=plan)
        return made[plan]

    return make


@pytest.fixture(scope="session")
def frames_of(database_of: Callable[[Plan], str]) -> Callable[[Plan], StudyFrames]:
    """The frames of a planned study."""
    from slasearch.analysis.frames import load_frames

    made: dict[Plan, StudyFrames] = {}

    def make(plan: Plan) -> StudyFrames:
        if plan not in made:
            made[plan] = load_frames(database_of(plan), "synthetic")
        return made[plan]

    return make


@pytest.fixture(scope="session")
def frames(frames_of: Callable[[Plan], StudyFrames]) -> StudyFrames:
    """The frames of the whole synthetic study: three phases, three tasks, two measured conditions."""
    from synthetic import Plan

    return frames_of(Plan())


@pytest.fixture(scope="session")
def results_of(
    database_of: Callable[[Plan], str], frames_of: Callable[[Plan], StudyFrames]
) -> Callable[[Plan], Results]:
    """Every analysis of a planned study."""
    from slasearch.analysis.learning import load_learning
    from slasearch.report.results import analyse

    made: dict[Plan, Results] = {}

    def make(plan: Plan) -> Results:
        if plan not in made:
            made[plan] = analyse(frames_of(plan), load_learning(database_of(plan), "synthetic"))
        return made[plan]

    return make


@pytest.fixture(scope="session")
def results(results_of: Callable[[Plan], Results]) -> Results:
    """Every analysis of the whole synthetic study."""
    from synthetic import Plan

    return results_of(Plan())


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Cluster]:
    """A PostgreSQL server of the tests' own, which they may stop and start; without one installed they are skipped."""
    import postgres

    programs = postgres.find()
    if programs is None:
        pytest.skip(postgres.MISSING)
    cluster = postgres.Cluster(programs)
    yield cluster
    cluster.remove()


@pytest.fixture
def postgres_url(postgres_server: Cluster) -> str:
    """URL of an empty PostgreSQL database."""
    return postgres_server.new_database()
