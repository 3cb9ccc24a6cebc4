"""The config is read strictly; an error is one line."""

import pytest

from modeconn import configuration


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: one\nname: two\n", ["line 2, column 1", "name is there twice"]),
        ("datasets:\n  digits: {source: digits}\n  digits: {}\n", ["line 3, column 3", "digits is there twice"]),
        ("name: one\nstudies:\n\t- none\n", ["line 3, column 1", "\\t"]),
        ("name: [one\n", ["line 2, column 1"]),
        ("", ["is empty"]),
        ("- one\n", ["no mapping"]),
        ("a: &a [*a]\n", ["Circular reference"]),
        ("? [a]\n: 1\n", ["line 1, column 3", "text"]),
        ("__use_yte__: true\nname: one\n", ["line 1, column 1", "run code"]),
        ("name: one\n__definitions__:\n  - import os\n", ["line 2, column 1", "run code"]),
        ("name: !!python/name:os.system ''\n", ["line 1, column 7", "constructor"]),
        ("epochs: 1e999\n", ["line 1, column 9", "1e999 is no finite number"]),
        *[
            (f"epochs: {text}\n", ["line 1, column 9", f"{text} can be read in more than one way"])
            for text in ("010", "00", "0x1F", "0o17", "1:30", "12:30:45", "1_000", ".inf", "-.inf", ".nan")
        ],
    ],
)
def test_what_is_no_config_is_one_line(tmp_path, one_line, text, words):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with one_line(ValueError, path, *words):
        configuration.read(path)


def test_an_absent_config_is_one_line(tmp_path, one_line):
    for path in (tmp_path / "my.yaml", tmp_path):
        with one_line(ValueError, path, "is no file", "CONFIG="):
            configuration.read(path)


def test_merged_keys_and_comments_are_read(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("name: one # my run\nfirst: &first {a: 1, b: 2}\nsecond: {<<: *first, b: 3}\n")
    assert configuration.read(path) == {"name": "one", "first": {"a": 1, "b": 2}, "second": {"a": 1, "b": 3}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("1e2", 100.0), ("1.0e3", 1000.0), ("1e-4", 0.0001), ("1E+2", 100.0), (".5", 0.5), ("5.", 5.0), ("-3", -3)],
        *[("true", True), ("False", False), ("~", None), ("null", None), ("", None)],
        # Truth values and dates of YAML 1.1 are text, and so is what is quoted.
        *[(text, text) for text in ("no", "yes", "on", "off", "y", "2020-01-01", "1e", "1.2.3", "3-4")],
        *[("'010'", "010"), ('"1e2"', "1e2")],
    ],
)
def test_scalars_are_read_as_in_yaml_1_2(tmp_path, text, value):
    path = tmp_path / "my.yaml"
    path.write_text(f"name: {text}\n")
    (found,) = configuration.read(path).values()
    assert found == value and type(found) is type(value)


def test_keys_are_text(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("no: 1\n010: 2\nnull: 3\n")
    assert configuration.read(path) == {"no": 1, "010": 2, "null": 3}


def test_json_is_read_too(tmp_path):
    path = tmp_path / "my.json"
    path.write_text('{"name": "one", "values": [1e5, null, {"a": true}]}')
    assert configuration.read(path) == {"name": "one", "values": [1e5, None, {"a": True}]}
