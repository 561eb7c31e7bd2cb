"""A study whose trained adapters lie in a place of its own."""

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from session_kit import column, report, run_all, study, trials_of

from slasearch.cli.delete import delete
from slasearch.errors import StorageError
from slasearch.search.command import delete_study
from slasearch.storage.artifacts import Artifacts
from slasearch.storage.models import SlaStudy
from slasearch.storage.store import Store


def kept_at(where):
    return study(optimise=2, resources={"storage_path": f"file://{where.home}/../my%20store"})


def read_all(where):
    """What each trial has left, read as the study's file of now says."""
    store = Store(where.storage_url)
    stored = store.study("toy")
    artifacts = Artifacts.of(stored, where.home, kept_at(where).resources.storage_path)
    return {row.id: [artifacts.read(file) for file in store.artifacts(row.id)] for row in trials_of(where)}


def test_adapters_alone_are_written_there_and_deleted_with_the_study(opened, where):
    session = opened(kept_at(where))
    session.check_store()
    run_all(session)
    session.close()
    (folder,) = (where.home.parent / "my store").iterdir()
    assert folder.name.startswith("toy-")
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2", "README"]
    assert sorted(path.name for path in where.home.iterdir()) == ["logs"]
    assert read_all(where) == {1: [b"tensors", b"{}"], 2: [b"tensors", b"{}"]}
    delete_study(where, "toy")
    assert not folder.exists()
    assert column(where, sa.select(SlaStudy.name)) == []


def test_a_study_moves_there_in_its_middle(opened, where):
    session = opened(study(optimise=2))
    ask = session.next()
    session.started(ask.trial_id, ray_trial_id="r")
    session.finish(ask.trial_id, report(ask))
    run_all(opened(kept_at(where)))
    assert [path.name for folder in (where.home / "artifacts").iterdir() for path in folder.iterdir()] == ["1"]
    assert read_all(where) == {1: [b"tensors", b"{}"], 2: [b"tensors", b"{}"]}
    opened(kept_at(where)).close()
    delete_study(where, "toy")
    assert not list((where.home / "artifacts").iterdir())
    assert not list((where.home.parent / "my store").iterdir())


def test_what_lies_where_the_file_no_longer_says_is_told_when_the_study_is_deleted(opened, where):
    run_all(opened(kept_at(where)))
    opened(study(optimise=2)).close()
    answer = CliRunner().invoke(
        delete, ["toy", "--yes", "--storage", where.storage_url], env={"SLASEARCH_HOME": str(where.home)}
    )
    (folder,) = (where.home.parent / "my store").iterdir()
    assert [path.name for path in folder.glob("*/*.json")] == ["adapter.json"] * 2
    assert answer.exit_code == 0
    told = (
        "4 files of its adapters were not where resources.storage_path and the home folder are now. What was written "
    )
    assert f"{told}elsewhere stays there: {folder.name}/1, {folder.name}/2\n" in answer.stderr


def test_a_store_that_refuses_is_noticed_before_anything_is_trained(opened, where):
    where.home.mkdir()
    (where.home.parent / "my store").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match=r"my store/toy-.*: expected to write here, got"):
        opened(kept_at(where)).check_store()
