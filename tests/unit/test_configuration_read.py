"""The config is read strictly, and what cannot be read is one line."""

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
