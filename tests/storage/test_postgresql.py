"""PostgreSQL as the database: the contract, migrations, what readers see, and what is said when it refuses."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa
from alembic import command as alembic_command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from several import make_tables_at_once

from slasearch.errors import ConnectionLostError, StorageError
from slasearch.search.lease import Lease
from slasearch.service.dashboard import read_only_storage
from slasearch.storage import upgrade as upgrade_module
from slasearch.storage.engine import make_engine, optuna_storage
from slasearch.storage.models import Base, SlaLease
from slasearch.storage.patience import WAIT_SECONDS, Patience
from slasearch.storage.store import Store
from slasearch.storage.upgrade import newest_revision, stored_revision, upgrade
from slasearch.testing.storage import STORAGE_CHECKS, example_study

pytestmark = pytest.mark.postgres


@pytest.mark.parametrize("check", STORAGE_CHECKS, ids=lambda check: check.__name__)
def test_contract_on_postgresql(check, postgres_url):
    check(postgres_url)


def test_migrations_make_exactly_the_models_tables_on_postgresql(postgres_url):
    engine = make_engine(postgres_url)
    upgrade(engine)
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), Base.metadata)
        assert connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar() == "1min"
    engine.dispose()
    assert [step for step in found if step[0] != "remove_table"] == []
    assert stored_revision(engine) == newest_revision()


def test_drivers_that_start_at_once_migrate_one_after_another(postgres_url, monkeypatch):
    running, most = [], []
    real = upgrade_module.command.upgrade

    def slow(config, revision):
        running.append(1)
        most.append(len(running))
        time.sleep(0.3)
        real(config, revision)
        running.pop()

    monkeypatch.setattr(upgrade_module.command, "upgrade", slow)
    assert make_tables_at_once(postgres_url) == []
    assert max(most) == 1
    assert Store(postgres_url).studies() == []


def test_what_the_server_refuses_is_an_error_at_once_and_without_the_password(postgres_server):
    begun = time.monotonic()
    for url, expected in (
        (postgres_server.url("nowhere", password="s3cret"), 'database "nowhere" does not exist. Make it on the server'),
        (postgres_server.url(password="s3cret").replace("tester", "nobody"), 'role "nobody" does not exist. Make it'),
        (postgres_server.url(password="s3cret").replace("sla-pg-", "none-"), "No such file or directory. Check that"),
    ):
        with pytest.raises(StorageError) as caught:
            Store(url).upgrade()
        assert expected in str(caught.value)
        assert ":***@" in str(caught.value)
        assert "s3cret" not in str(caught.value)
    assert time.monotonic() - begun < WAIT_SECONDS / 10


def test_a_contradiction_is_refused_once_and_not_tried_again(postgres_url):
    store = Store(postgres_url)
    store.upgrade()
    tries = []

    def twice(writer):
        tries.append(1)
        writer.add_study(example_study())

    store.write(twice)
    with pytest.raises(StorageError, match="duplicate key") as caught:
        store.write(twice)
    assert not isinstance(caught.value, ConnectionLostError)
    assert len(tries) == 2
    store.close()


def test_a_server_that_stays_away_is_waited_for_in_vain_once_and_said_so_once(postgres_server, postgres_url):
    said, clock = [], [0.0]

    def pause(seconds):
        clock[0] += seconds
        return True

    store = Store(postgres_url, Patience(say=said.append, pause=pause, clock=lambda: clock[0]))
    store.upgrade()
    postgres_server.stop()
    try:
        with pytest.raises(ConnectionLostError, match=r"Waited 30[0-2] s for it in vain"):
            store.write(lambda writer: writer.add_study(example_study()))
        waited = clock[0]
        with pytest.raises(ConnectionLostError):
            store.studies()
        assert clock[0] == waited
        assert len(said) == 1
        assert "Waiting up to 300 s" in said[0]
    finally:
        postgres_server.start()


def test_a_wait_can_be_ended(postgres_server, postgres_url):
    store = Store(postgres_url, Patience(say=lambda text: None, pause=lambda seconds: False))
    store.upgrade()
    postgres_server.stop("immediate")
    try:
        with pytest.raises(ConnectionLostError, match="Waited 0 s"):
            store.studies()
    finally:
        postgres_server.start()


def test_the_dashboards_storage_cannot_write_on_postgresql(postgres_url):
    storage = optuna_storage(postgres_url)
    study_id = storage.create_new_study([], "one")
    storage.engine.dispose()
    reading = read_only_storage(postgres_url)
    assert [found.study_name for found in reading.get_all_studies()] == ["one"]
    with pytest.raises(Exception, match="commit") as caught:
        reading.set_study_user_attr(study_id, "a", 1)
    assert "read-only transaction" in str(caught.value.__cause__)
    reading.engine.dispose()


def test_the_dashboard_says_what_to_do_on_an_empty_database(postgres_url):
    with pytest.raises(StorageError) as caught:
        read_only_storage(postgres_url.replace("tester", "tester:s3cret"))
    assert "got no table of them. Run a study first (`slasearch run FILE`), or name another" in str(caught.value)
    assert "version_info" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_role_that_may_only_read_cannot_upgrade_and_is_told_so(postgres_server, postgres_url):
    engine = make_engine(postgres_url)
    with engine.begin() as connection:
        config = upgrade_module._config()
        config.attributes["connection"] = connection
        alembic_command.upgrade(config, "0002")
        connection.exec_driver_sql("CREATE ROLE reader LOGIN")
        connection.exec_driver_sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    reading = Store(postgres_url.replace("tester", "reader"))
    with pytest.raises(StorageError, match=r"got 0002, made by an earlier release\..*`slasearch upgrade`"):
        reading.studies()
    with pytest.raises(StorageError, match=r"permission denied for .*Use a role that has this right"):
        reading.upgrade(create=False)
    assert stored_revision(engine) == "0002"
    assert Store(postgres_url).upgrade(create=False) == "0002"
    assert reading.upgrade(create=False) == newest_revision()
    assert reading.studies() == []
    reading.close()
    engine.dispose()


def test_the_lease_is_locked_from_its_check_to_the_commit(postgres_url):
    store, other = Store(postgres_url), Store(postgres_url)
    store.upgrade()
    study = store.write(lambda writer: writer.add_study(example_study()))
    lease = Lease.take(store, study.id, "example", 1.0)
    store.guard(lease)

    def step(writer):
        with other.engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
            with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
                connection.execute(sa.update(SlaLease).values(token=SlaLease.token + 1))
        writer.update_study(study.id, state="stopped")

    store.write(step)
    assert store.study("example").state == "stopped"
    for opened in (store, other):
        opened.close()
