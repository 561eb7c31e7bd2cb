import sqlite3
import stat

import pytest
import sqlalchemy as sa
from alembic import command as alembic_command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from several import make_tables_at_once
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from slasearch.errors import StorageError, StudyNotFoundError
from slasearch.service.read_only import read_only_engine_arguments
from slasearch.storage import engine as engine_module
from slasearch.storage import upgrade as upgrade_module
from slasearch.storage.engine import database_file, make_engine, optuna_storage, storage_errors
from slasearch.storage.models import Base
from slasearch.storage.store import Store
from slasearch.storage.upgrade import VERSION_TABLE, newest_revision, stored_revision, upgrade
from slasearch.storage.writer import Writer
from slasearch.testing.storage import STORAGE_CHECKS, example_study


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'new folder' / 'study.db'}"


@pytest.mark.parametrize("check", STORAGE_CHECKS, ids=lambda check: check.__name__)
def test_contract(check, url):
    check(url)


def test_migrations_make_exactly_the_models_tables(url):
    engine = make_engine(url)
    upgrade(engine)
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), Base.metadata)
        names = set(sa.inspect(connection).get_table_names())
    assert [step for step in found if step[:2] != ("remove_table", VERSION_TABLE) and step[0] != "remove_table"] == []
    assert names == {*Base.metadata.tables, VERSION_TABLE}
    assert stored_revision(engine) == newest_revision() == "0006"


def test_a_database_of_the_first_revision_keeps_its_studies(url):
    engine = make_engine(url)
    with engine.begin() as connection:
        config = upgrade_module._config()
        config.attributes["connection"] = connection
        alembic_command.upgrade(config, "0001")
        study = Writer(connection).add_study(example_study("old"))
    assert "sla_request" not in sa.inspect(engine).get_table_names()
    store = Store(url)
    store.upgrade()
    assert store.study("old") == study
    assert store.requests(study.id) == []


@pytest.mark.parametrize(
    ("table", "key"), [("sla_trial", "retry_of"), ("sla_trial", "pair_of"), ("sla_event", "trial_id")]
)
def test_what_refers_to_a_trial_is_found_by_an_index_when_it_is_deleted(url, table, key):
    engine = make_engine(url)
    upgrade(engine)
    with engine.connect() as connection:
        steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN SELECT 1 FROM {table} WHERE {key} = 1").all()
    assert [f"INDEX ix_{table}_{key} ({key}=?)" in step[3] for step in steps] == [True]


def test_tables_can_be_made_on_postgresql():
    for table in Base.metadata.sorted_tables:
        assert table.name in str(CreateTable(table).compile(dialect=postgresql.dialect()))


def test_sqlite_connections_are_set_up_for_ours_and_optunas(url):
    engine = make_engine(url)
    storage = optuna_storage(url)
    for connected in (engine, storage.engine):
        with connected.connect() as connection:
            values = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
            ]
        assert values == ["wal", 1, 30000, 1]


def test_database_file():
    assert database_file("sqlite:////a/b.db").as_posix() == "/a/b.db"
    assert database_file("sqlite://") is None
    assert database_file("postgresql+psycopg://me@host/name") is None


def test_a_reader_makes_no_database(url, tmp_path):
    with pytest.raises(StorageError, match=r"expected the file .*study.db, got none. Run a study first"):
        Store(url).studies()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_looked_at_is_told(tmp_path):
    """As one in a folder that this user may not enter, which root, who runs this in a container, enters anyway."""
    url = f"sqlite:///{tmp_path}/{'x' * 300}"
    with pytest.raises(StorageError, match=r"expected the file .*, got: File name too long. Make it readable"):
        Store(url).studies()
    with pytest.raises(StorageError, match="got: File name too long"):
        read_only_engine_arguments(url)


def test_a_reader_leaves_the_file_as_it_is(url):
    """The way in which changes are logged stands in the file."""
    store = Store(url)
    store.upgrade()
    store.close()
    connection = sqlite3.connect(database_file(url))
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    before = database_file(url).read_bytes()
    reader = Store(url)
    assert reader.studies() == []
    reader.close()
    assert database_file(url).read_bytes() == before
    store.upgrade()
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    store.close()


def test_a_reader_of_a_database_without_our_tables_is_told_so(tmp_path):
    file = tmp_path / "other.db"
    sqlite3.connect(file).execute("create table t (x)").connection.close()
    with pytest.raises(StorageError, match="expected slasearch's tables, got none"):
        Store(f"sqlite:///{file}").studies()


def test_a_database_of_a_later_release_is_refused(url):
    store = Store(url)
    store.upgrade()
    with store.engine.begin() as connection:
        connection.execute(sa.text(f"update {VERSION_TABLE} set version_num = '9999'"))
    store.close()
    with pytest.raises(StorageError, match="got 9999, made by a later release"):
        store.upgrade()
    with pytest.raises(StorageError, match=r"got 9999, made by a later release\. Install that"):
        Store(url).studies()


def test_unknown_study_lists_the_known_ones(url):
    store = Store(url)
    store.upgrade()
    store.write(lambda writer: writer.add_study(example_study("one")))
    with pytest.raises(StudyNotFoundError, match=r"\(one\), got 'two'"):
        store.study("two")


def test_a_locked_database_is_reported(url, monkeypatch):
    monkeypatch.setattr(engine_module, "BUSY_SECONDS", 0.05)
    store = Store(url)
    store.upgrade()
    other = sqlite3.connect(database_file(url), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match=r"database is locked\. Another process"):
        store.write(lambda writer: writer.add_study(example_study()))
    other.execute("ROLLBACK")
    store.write(lambda writer: writer.add_study(example_study()))
    other.close()


def test_a_file_that_is_no_database_is_reported(tmp_path):
    file = tmp_path / "text.db"
    file.write_text("not a database, but long enough to look at " * 10)
    with pytest.raises(StorageError, match=r"not a database\. The file is something else"):
        Store(f"sqlite:///{file}").upgrade()


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="expected to make the folder"):
        Store(f"sqlite:///{tmp_path / 'file' / 'sub' / 'a.db'}").upgrade()


def test_a_readonly_database_is_reported(url):
    store = Store(url)
    store.upgrade()
    with store.engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA query_only=ON")
        expected = r"readonly database\. Make the file and its folder writable"
        with pytest.raises(StorageError, match=expected), storage_errors(url):
            connection.exec_driver_sql("delete from sla_event")


@pytest.mark.parametrize(
    "url",
    ["postgresql+psycopg://me:s3cr%65t@127.0.0.1:9/x", "postgresql+nodriver://me:s3cret@127.0.0.1/x"],
)
def test_no_password_in_messages(url):
    with pytest.raises(StorageError) as caught:
        Store(url).upgrade()
    assert "s3cret" not in str(caught.value)
    assert "s3cr%65t" not in str(caught.value)
    assert "me:***@127.0.0.1" in str(caught.value)


def test_a_password_in_the_drivers_own_text_is_masked():
    with pytest.raises(StorageError) as caught, storage_errors("postgresql://me:s3cret@h/x"):
        raise sa.exc.OperationalError("select", {}, Exception("login of me with s3cret failed"))
    assert "login of me with *** failed. Check that the server is up" in str(caught.value)


def test_a_short_password_does_not_mask_parts_of_words():
    with pytest.raises(StorageError) as caught, storage_errors("postgresql://me:data@h/x"):
        raise sa.exc.OperationalError("select", {}, Exception('database "x" does not take data, or password=data'))
    assert 'database "x" does not take ***, or password=***. ' in str(caught.value)


def test_a_text_that_is_no_url_is_refused_without_repeating_it():
    with pytest.raises(StorageError, match="expected a URL such as") as caught:
        Store("s3cret").upgrade()
    assert "s3cret" not in str(caught.value)


def test_several_may_make_the_tables_at_once(url):
    make_engine(url).connect().close()
    assert make_tables_at_once(url) == []
    assert Store(url).studies() == []


def test_optuna_reads_urls_with_braces(tmp_path):
    storage = optuna_storage(f"sqlite:///{tmp_path / 'a{b}c.db'}")
    storage.create_new_study([], "one")
    assert stat.S_ISREG((tmp_path / "a{b}c.db").stat().st_mode)


def test_only_what_must_not_be_lost_waits_for_the_disk(url):
    upgrade(make_engine(url))
    store = Store(url)

    def waits(writer):
        return writer.connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2

    assert [store.write(waits, durable=durable) for durable in (False, True, False)] == [False, True, False]
