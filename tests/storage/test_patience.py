"""Waiting for a lost database: how long, how often it is said, and what ends it."""

import pytest

from slasearch.errors import ConnectionLostError, StorageError
from slasearch.storage.patience import FIRST_PAUSE, LONGEST_PAUSE, WAIT_SECONDS, Patience


class Server:
    """Does not answer for so many seconds; sleeping moves its clock."""

    def __init__(self):
        self.time = 0.0
        self.back_at = 0.0
        self.pauses = []
        self.said = []
        self.patience = Patience(say=self.said.append, pause=self.sleep, clock=lambda: self.time)

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.time += seconds
        return True

    def ask(self):
        if self.time < self.back_at:
            raise ConnectionLostError("database x: gone.")
        return "answer"

    def away(self, seconds):
        self.patience.call(self.ask)
        self.back_at = self.time + seconds


def test_a_restart_of_thirty_seconds_is_waited_for_and_told_in_two_sentences():
    server = Server()
    server.away(30)
    assert server.patience.call(server.ask) == "answer"
    assert server.pauses[0] == FIRST_PAUSE
    assert max(server.pauses) == LONGEST_PAUSE
    assert 30 <= server.time <= 30 + LONGEST_PAUSE
    said = [text.split(":")[0] for text in server.said]
    assert said == ["database x", "The database is back after 32 s."], "noticed at the next try"


def test_each_loss_is_waited_for_anew():
    server = Server()
    for _ in range(2):
        server.away(WAIT_SECONDS - 10)
        assert server.patience.call(server.ask) == "answer"
    assert len(server.said) == 4


def test_a_database_that_never_answered_is_not_waited_for():
    server = Server()
    server.back_at = 1.0
    with pytest.raises(ConnectionLostError, match=r"^database x: gone\.$"):
        server.patience.call(server.ask)
    assert (server.pauses, server.said) == ([], [])


def test_a_wait_in_vain_is_the_last_one():
    server = Server()
    server.away(1e9)
    with pytest.raises(ConnectionLostError, match=r"in vain\. Run the same command again when it is up"):
        server.patience.call(server.ask)
    assert WAIT_SECONDS <= server.time <= WAIT_SECONDS + LONGEST_PAUSE
    assert server.patience.gave_up
    before = server.time
    with pytest.raises(ConnectionLostError, match=r"gone\.$"):
        server.patience.call(server.ask)
    assert server.time == before
    assert len(server.said) == 1


def test_an_interrupt_ends_the_wait():
    server = Server()
    server.away(30)

    def interrupted(seconds):
        raise KeyboardInterrupt

    server.patience._pause = interrupted
    with pytest.raises(KeyboardInterrupt):
        server.patience.call(server.ask)
    assert server.patience.gave_up


def test_a_refusal_is_not_asked_again():
    server = Server()
    server.away(0)
    asked = []

    def refused():
        asked.append(1)
        raise StorageError("database x: no space.")

    with pytest.raises(StorageError, match="no space"):
        server.patience.call(refused)
    assert asked == [1]
    assert not server.patience.gave_up
