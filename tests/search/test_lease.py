import json
import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
import sqlalchemy as sa

from slasearch.errors import ConnectionLostError, LeaseError
from slasearch.search import lease as lease_module
from slasearch.search.lease import RENEW_SECONDS, STALE_SECONDS, Lease, has_driver, is_dead, this_process
from slasearch.storage.models import SlaLease
from slasearch.storage.patience import Patience
from slasearch.storage.store import Store
from slasearch.testing.storage import example_study, example_trial

NOW = 1_750_000_000.0


@pytest.fixture
def store(where):
    store = Store(where.storage_url)
    store.write(lambda writer: writer.add_study(example_study()))
    yield store
    store.close()


def stored(store):
    with store.engine.connect() as connection:
        return connection.execute(sa.select(SlaLease.__table__)).one()


def hold_as(store, holder, renewed_at=NOW):
    text = None if holder is None else json.dumps(vars(holder))
    with store.engine.begin() as connection:
        connection.execute(sa.update(SlaLease).values(holder=text, renewed_at=renewed_at))


def test_a_living_process_is_not_dead_however_silent():
    assert not is_dead(this_process(NOW), NOW, NOW + 1e9)


def test_an_ended_process_is_dead_at_once_even_if_its_number_is_used_again():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    me = this_process(NOW)
    assert is_dead(replace(me, pid=ended.pid), NOW, NOW)
    assert is_dead(replace(me, started="1"), NOW, NOW)


def test_a_process_that_waits_to_be_reaped_is_dead():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    holder = replace(this_process(NOW), pid=child.pid, started=lease_module._start(child.pid))
    assert not is_dead(holder, NOW, NOW)
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_dead(holder, NOW, NOW)
    child.wait()


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"boot": "another"}, {"namespace": "pid:[1]"}])
def test_a_process_that_cannot_be_looked_at_is_dead_after_silence(change):
    other = replace(this_process(NOW), **change)
    assert not is_dead(other, NOW, NOW + STALE_SECONDS)
    assert is_dead(other, NOW, NOW + STALE_SECONDS + 1)


def test_tokens_grow_and_a_dead_holder_is_remembered(store):
    first = Lease.take(store, 1, "example", NOW)
    assert (first.token, first.previous) == (1, None)
    dead = replace(this_process(NOW), started="0")
    hold_as(store, dead, NOW + 5)
    second = Lease.take(store, 1, "example", NOW + 9)
    assert (second.token, second.previous) == (2, dead)
    assert json.loads(stored(store).holder)["pid"] == os.getpid()


def test_a_living_holder_is_named_with_what_to_do(store):
    Lease.take(store, 1, "example", NOW)
    with pytest.raises(LeaseError) as caught:
        Lease.take(store, 1, "example", NOW + 1)
    text = str(caught.value)
    assert f"process {os.getpid()} on {socket.gethostname()} since 2025-06-15 15:06:40 UTC" in text
    assert f"kill {os.getpid()}" in text


def test_a_released_lease_is_free_and_its_token_stays(store):
    lease = Lease.take(store, 1, "example", NOW)
    assert has_driver(store, 1, NOW)
    lease.release(store)
    assert not has_driver(store, 1, NOW)
    again = Lease.take(store, 1, "example", NOW + 9)
    assert (again.token, again.previous) == (2, None)


def test_no_lease_means_no_driver(store):
    assert not has_driver(store, 1, NOW)


def test_renewal_is_written_now_and_then(store):
    lease = Lease.take(store, 1, "example", NOW)
    lease.renew(store, NOW + RENEW_SECONDS - 1, NOW)
    assert stored(store).renewed_at == NOW
    lease.renew(store, NOW + RENEW_SECONDS, NOW)
    assert stored(store).renewed_at == NOW + RENEW_SECONDS


def test_a_renewal_says_when_by_the_drivers_own_clock(store):
    lease = Lease.take(store, 1, "example", NOW)
    lease.renew(store, NOW + RENEW_SECONDS, NOW + 3)
    assert store.study("example").updated_at == NOW + 3


def test_a_clock_that_is_set_back_stops_no_renewal(store):
    lease = Lease.take(store, 1, "example", NOW)
    lease.renew(store, NOW - 3600, NOW)
    assert stored(store).renewed_at == NOW - 3600


def test_an_overtaken_holder_can_neither_renew_nor_write_nor_release(store):
    old = Lease.take(store, 1, "example", NOW)
    hold_as(store, None)
    new = Lease.take(store, 1, "example", NOW)
    store.guard(old)
    with pytest.raises(LeaseError, match="another driver has taken the study over"):
        old.renew(store, NOW + 100, NOW)
    with pytest.raises(LeaseError):
        store.write(lambda writer: writer.update_study(1, state="finished"))
    assert old.lost
    old.release(store)
    store.guard(new)
    store.write(lambda writer: writer.update_study(1, state="stopped"))
    assert store.study("example").state == "stopped"
    assert stored(store).holder is not None


def test_each_write_moves_the_token_on(store):
    lease = Lease.take(store, 1, "example", NOW)
    store.guard(lease)
    store.write(lambda writer: writer.update_study(1, state="stopped"))
    lease.renew(store, NOW + 100, NOW)
    assert (stored(store).token, lease.token) == (3, 3)


def losing_the_first_answer(store, lease):
    """Lets the connection be lost after the next commit; returns what is said of it."""
    answers = []
    written = lease.written

    def lose_the_first_answer():
        if not answers:
            answers.append("lost")
            raise ConnectionLostError("the server went away")
        written()

    lease.written = lose_the_first_answer
    store.patience = Patience(say=answers.append, pause=lambda seconds: True)
    store.studies()
    return answers


def test_a_write_whose_answer_was_lost_is_known_by_the_token(store):
    lease = Lease.take(store, 1, "example", NOW)
    store.guard(lease)
    answers = losing_the_first_answer(store, lease)
    made = store.write(lambda writer: writer.add_trial(example_trial(1)))
    assert answers[0] == "lost"
    assert "Waiting up to 300 s" in answers[1]
    assert store.trials(1) == [made]
    assert stored(store).token == lease.token == 2


def test_a_write_that_is_interrupted_after_its_commit_does_not_stand_for_the_next(store):
    lease = Lease.take(store, 1, "example", NOW)
    store.guard(lease)
    written, calls = lease.written, []

    def interrupted():
        calls.append("interrupted")
        if calls == ["interrupted"]:
            raise KeyboardInterrupt
        written()

    lease.written = interrupted
    with pytest.raises(KeyboardInterrupt):
        store.write(lambda writer: writer.add_trial(example_trial(1)))
    store.write(lambda writer: writer.update_study(1, state="stopped"))
    assert (store.study("example").state, len(store.trials(1))) == ("stopped", 1)
    assert stored(store).token == lease.token == 3


def test_a_write_that_is_given_up_before_its_commit_leaves_the_next_to_be_known_by_its_token(store):
    lease = Lease.take(store, 1, "example", NOW)
    store.guard(lease)

    def given_up(writer):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(given_up)
    losing_the_first_answer(store, lease)
    made = store.write(lambda writer: writer.add_trial(example_trial(1)))
    assert store.trials(1) == [made]
    assert stored(store).token == lease.token == 2


def test_a_lease_whose_taking_got_no_answer_is_ones_own(store, monkeypatch):
    real = Store.once
    lost = []

    def once(self, transaction):
        def with_a_loss():
            transaction()
            if not lost:
                lost.append("answer")
                raise ConnectionLostError("the server went away")

        real(self, with_a_loss)

    monkeypatch.setattr(Store, "once", once)
    store.patience = Patience(say=lost.append, pause=lambda seconds: True)
    store.studies()
    lease = Lease.take(store, 1, "example", NOW)
    assert lost[0] == "answer"
    assert (lease.token, lease.holder) == (stored(store).token, stored(store).holder)


@pytest.mark.parametrize("hidden", [PermissionError, FileNotFoundError])
def test_a_living_process_of_another_user_that_is_hidden_is_dead_after_silence_alone(monkeypatch, hidden):
    """As /proc has it with hidepid: its files cannot be read, or are not there."""
    holder, answers = this_process(NOW), PermissionError

    class Hidden(type(lease_module.Path())):
        def read_text(self):
            raise hidden if self.name == "stat" else OSError

    def kill(pid, signal):
        raise answers

    monkeypatch.setattr(lease_module, "_boot", lambda: holder.boot)
    monkeypatch.setattr(lease_module, "Path", Hidden)
    monkeypatch.setattr(os, "kill", kill)
    assert not is_dead(holder, NOW, NOW + lease_module.STALE_SECONDS)
    assert is_dead(holder, NOW, NOW + lease_module.STALE_SECONDS + 1)
    answers = ProcessLookupError
    assert is_dead(holder, NOW, NOW) == (hidden is FileNotFoundError)


def test_where_the_system_does_not_tell_the_start_a_living_process_still_counts(monkeypatch):
    class NoProc(type(lease_module.Path())):
        def is_file(self):
            return False

    monkeypatch.setattr(lease_module, "Path", NoProc)
    assert lease_module._start(os.getpid()) == ""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert lease_module._start(ended.pid) is None
