from slasearch.analysis.health import gate_health, short_kind
from slasearch.records import Event

WELL = Event("gate_health.mixed", "3 of 8 gates open.")
OPEN = Event("gate_health.all_open", "No gate closed by itself.", "warning")


def bare(task: str) -> Event:
    return Event("gate_health.task_without_slots", f"Task {task} has no open slot.", "warning")


def test_trials_are_counted_once_for_each_kind_out_of_those_with_gates() -> None:
    lost = Event("driver.lost", "gone", "warning")
    events = [(1, WELL), (2, OPEN), (2, bare("a")), (2, bare("b")), (3, OPEN), (4, lost), (None, lost)]
    found = gate_health(events)
    assert [(item.kind, item.count, item.total) for item in found] == [(OPEN.kind, 2, 3), (bare("a").kind, 1, 3)]
    assert found[0].text == "gate health: 2 of 3 trials all open — No gate closed by itself."
    assert found[1].text == "gate health: 1 of 3 trials with a task without slots — Task a has no open slot."


def test_kinds_that_are_not_known_yet_are_told_by_their_names() -> None:
    (found,) = gate_health([(1, Event("gate_health.too_hot", "Cool it.", "warning"))])
    assert found.text == "gate health: 1 of 1 trials too hot — Cool it."
    assert short_kind("driver.lost") == "driver.lost"


def test_nothing_is_said_where_all_is_well() -> None:
    assert gate_health([(1, WELL), (2, WELL)]) == ()
