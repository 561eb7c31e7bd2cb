"""Hostile and odd YAML: one clear error for each, quickly, and the scalars of YAML 1.2."""

import itertools
import json
import math
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slasearch.config.document import MAX_DEPTH, MAX_VALUES, parse_document
from slasearch.config.load import parse_study
from slasearch.errors import ConfigError

LETTERS = "abcdefghijklmnopqrstuvwxyz"
BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in itertools.pairwise(LETTERS))
HOSTILE = {
    "python object": ("a: !!python/object/apply:os.system ['true']\n", "x.yaml:1:", "the YAML tag"),
    "plain tag": ("a: 1\nb: !!str 5\n", "x.yaml:2:", "the YAML tag"),
    "own tag": ("a: !secret 5\n", "x.yaml:1:", "the YAML tag !secret"),
    "lonely exclamation mark": ("a: ! 5\n", "x.yaml:1:", "the YAML tag"),
    "alias bomb": (BOMB, "x.yaml:1:", "the anchor or alias"),
    "alias to nothing": ("a: *b\n", "x.yaml:1:", "the anchor or alias b"),
    "anchored key": ("&k a: 1\n", "x.yaml:1:", "the anchor or alias k"),
    "deep lists": ("a: " + "[" * 5000 + "\n", "x.yaml:1:", f"at most {MAX_DEPTH} levels"),
    "deep mappings": ("\n".join(" " * n + "a:" for n in range(100)), "x.yaml:34:", f"at most {MAX_DEPTH} levels"),
    "many keys": ("".join(f"k{n}: 1\n" for n in range(MAX_VALUES)), "x.yaml:", f"at most {MAX_VALUES} keys"),
    "many entries": ("a: [" + "1," * MAX_VALUES + "]\n", "x.yaml:1:", f"at most {MAX_VALUES} keys"),
    "null byte": ("a: 1\nb: '\0'\n", "x.yaml:2:", "the character 0x0000"),
    "control character": ("a: '\x07'\n", "x.yaml:1:", "the character 0x0007"),
    "escaped null byte": ('a: "\\0"\n', "x.yaml:1:", "the character 0x0000"),
    "half a surrogate pair": ('"\\ud800": 1\n', "x.yaml:1:", "the character 0xd800"),
    "a list as a key": ("? [a, b]\n: 1\n", "x.yaml:1:", "text as a key"),
    "a mapping as a key": ("{a: 1}: 1\n", "x.yaml:1:", "text as a key"),
    "two documents": ("a: 1\n---\nb: 2\n", "x.yaml:2:", "one document"),
    "tab": ("a:\n\t- 1\n", "x.yaml:2:", "valid YAML"),
    "open bracket": ("a: [1, 2\n", "x.yaml:2:", "valid YAML"),
    "two colons": ("a: b: c\n", "x.yaml:1:", "valid YAML"),
    "an escape beyond Unicode": ('a: 1\nb: "\\U00110000"\n', "x.yaml:2:", "valid YAML"),
    "an escape beyond any number": ('a: "\\UFFFFFFFF"\n', "x.yaml:1:", "valid YAML"),
    "an endless version": (f"%YAML 1.{'1' * 5000}\n---\na: 1\n", "x.yaml:1:", "valid YAML"),
    "directive": ("%YAML 9.9\n---\na: 1\n", "x.yaml:1:", "valid YAML"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_text_gets_one_clear_error_at_its_line(case: str) -> None:
    text, place, words = HOSTILE[case]
    started = time.process_time()  # its work: how long it waits for a busy core says nothing of it
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "x.yaml")
    assert time.process_time() - started < 2
    assert len(caught.value.problems) == 1
    line = caught.value.problems[0]
    assert line.startswith(place)
    assert words in line
    assert "expected" in line
    assert ", got " in line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E+2", 100.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-3", -3),
        ("+3", 3),
        ("012", 12),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ('"1e-3"', "1e-3"),
        ("'true'", "true"),
        ("1" + "0" * 64, 1e64),  # no whole number of a study has 65 digits
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    read = parse_document(f"a: {text}\n", "x").root.plain()["a"]
    assert read == value
    assert type(read) is type(value)


def test_special_floats_are_read_for_the_schema_to_refuse() -> None:
    plain = parse_document("[.nan, .inf, -.inf, 1e999]", "x").root.plain()
    assert math.isnan(plain[0])
    assert plain[1:] == (math.inf, -math.inf, math.inf)


def test_duplicate_keys_are_problems_with_both_lines() -> None:
    document = parse_document("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 2\n", "x.yaml")
    assert document.problems == [
        "x.yaml:5: b.c: expected each field once, got it again (first: x.yaml:3)",
        "x.yaml:6: a: expected each field once, got it again (first: x.yaml:1)",
    ]
    assert document.root.plain() == {"a": 1, "b": {"c": 1, "d": 2}}


def test_an_entry_has_the_line_of_its_key() -> None:
    root = parse_document("a: 1\nb:\n  -\n    c: 2\n", "x").root
    assert root.value["b"].origin == "x:2"
    assert root.value["b"].value[0].value["c"].origin == "x:4"


texts = st.text(st.characters(exclude_categories=("Cc", "Cf", "Cn", "Cs", "Zl", "Zp")), max_size=20)
plain_data = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def _tuples(value: object) -> object:
    if isinstance(value, list):
        return tuple(_tuples(entry) for entry in value)
    if isinstance(value, dict):
        return {key: _tuples(entry) for key, entry in value.items()}
    return value


@given(plain_data)
def test_json_is_read_as_it_was_written(data: object) -> None:
    assert parse_document(json.dumps(data, ensure_ascii=False), "x").root.plain() == _tuples(data)


@given(st.text(max_size=300) | st.text(alphabet="ab:[]{}&*!-?|>'\"%@`#, \n\t0.", max_size=300))
def test_any_text_is_a_study_or_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_study(text, "x.yaml")
    assert all(line.startswith("x.yaml:") for line in caught.value.problems)


@given(st.dictionaries(texts, plain_data, max_size=4))
def test_any_mapping_is_a_study_or_a_config_error(data: dict[str, object]) -> None:
    text = yaml.safe_dump(data, allow_unicode=True)
    with pytest.raises(ConfigError) as caught:
        parse_study(text, "x.yaml")
    assert caught.value.problems


def test_messages_are_safe_to_print() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_study('"\\e[31mred": 1\n', "x.yaml", ["a\udc80=1", "b" * 500 + "=1"])
    for line in caught.value.problems:
        assert line.isprintable()
        line.encode()
    assert "\\u001b[31mred" in str(caught.value)
    assert max(len(line) for line in caught.value.problems) < 900
