"""Studies that are disturbed, and the row of the results' table that each scenario writes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS / folder) for folder in ("search", "orchestrate") if str(TESTS / folder) not in sys.path]

from chaos_kit import Study, drive, locations  # noqa: E402
from chaos_table import Row, Writer  # noqa: E402
from truth import Results, results_of  # noqa: E402

from slasearch.config.locations import Locations  # noqa: E402
from slasearch.config.schema import StudyConfig  # noqa: E402

HELD = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Lets the row know how its test has ended."""
    report = yield
    item.stash[HELD] = report.passed
    return report


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[StudyConfig], Results]:
    """The results of a study that nothing has disturbed; each study is run once."""
    made: dict[str, Results] = {}

    def results(config: StudyConfig) -> Results:
        key = config.model_dump_json()
        if key not in made:
            folder = tmp_path_factory.mktemp("undisturbed")
            drive(Study(config, locations(folder), folder / "notes"), seed=0)
            made[key] = results_of(config, locations(folder))
        return made[key]

    return results


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Iterator[Callable[..., Row]]:
    """Makes the scenario's row; it is written at the end of the test, however that ends."""
    writer = Writer(long=request.node.get_closest_marker("chaos") is not None)
    yield writer.row
    writer.write(held=request.node.stash[HELD])


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Callable[[str, Path], Locations]:
    """A new place for a study: its database is `SQLite` or `PostgreSQL`."""

    def make(database: str, folder: Path) -> Locations:
        if database == "SQLite":
            return locations(folder)
        return Locations(request.getfixturevalue("postgres_server").new_database(), folder / "home")

    return make
