"""Two small real tasks: words in sentences, told apart by what they name and by their mood."""

from slasearch.records import Example, TaskData, TaskSpec

ANIMALS = ["cat", "dog", "horse", "cow", "sheep", "goat", "pig", "duck"]
TOOLS = ["hammer", "saw", "drill", "wrench", "pliers", "screwdriver", "chisel", "axe"]
GOOD = ["lovely", "great", "wonderful", "superb", "fine", "excellent", "splendid", "nice"]
BAD = ["awful", "terrible", "horrid", "poor", "nasty", "dreadful", "bad", "lousy"]


def _split(first: list[str], second: list[str], frame: str, pick: slice) -> tuple[Example, ...]:
    words = [(word, 0) for word in first[pick]] + [(word, 1) for word in second[pick]]
    return tuple(Example(f"{word}-{frame}", frame.format(word), label) for word, label in words)


def _task(name: str, first: list[str], second: list[str], labels: tuple[str, str], gate: bool) -> TaskData:
    frames = ["I saw a {} today.", "There was one {} over there by the door."]
    train = sum((_split(first, second, frame, slice(0, 4)) for frame in frames), ())
    splits = {
        "train": train,
        "gate": _split(first, second, frames[0], slice(4, 6)) if gate else (),
        "validation": _split(first, second, frames[1], slice(4, 8)),
        "test": _split(first, second, frames[0], slice(6, 8)),
    }
    return TaskData(TaskSpec(name, "file:unused", max_tokens=16), labels, splits)


def make_tasks(*, gate: bool = False) -> list[TaskData]:
    return [
        _task("things", ANIMALS, TOOLS, ("animal", "tool"), gate),
        _task("mood", GOOD, BAD, ("good", "bad"), gate),
    ]
