"""The digest of the files at a path: contents decide it; dates decide only whether files are read again."""

import os
import shutil

import pytest

from modeconn import own_data


@pytest.fixture
def folder(tmp_path):
    for name in ("train/ant/1.png", "train/bee/1.png", "test/ant/1.png", "test/bee/1.png", "test/bee/Thumbs.db"):
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pictures" / name).write_text(name)
    return tmp_path / "pictures"


@pytest.fixture
def digest(folder, tmp_path):
    source = {"source": "image_folder", "path": str(folder)}
    return lambda: own_data.digest(source, tmp_path / "made", tmp_path / "known.json")


def another_content(folder):
    path = folder / "train/bee/1.png"
    path.write_text("TRAIN/bee/1.png")  # as long as before


CHANGES = {
    "content": another_content,
    "name": lambda folder: (folder / "train/bee/1.png").rename(folder / "train/bee/2.png"),
    "class": lambda folder: [(folder / split / "bee").rename(folder / split / "wasp") for split in ("train", "test")],
    "one more": lambda folder: (folder / "test/ant/2.png").write_text("2"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_names_and_contents_decide(folder, digest, change):
    before = digest()
    change(folder)
    assert digest() != before


def test_dates_and_what_systems_leave_do_not(folder, digest, tmp_path):
    before = digest()
    for path in folder.rglob("*.png"):
        os.utime(path, (1, 1))
    (folder / "test/bee/Thumbs.db").unlink()
    assert digest() == before
    (tmp_path / "known.json").write_text("{")
    assert digest() == before


def test_contents_are_read_once(folder, digest, monkeypatch):
    before = digest()
    monkeypatch.delattr(own_data, "_checksum")
    assert digest() == before


def test_what_has_gone_stands_for_what_was_made_of_it(folder, digest, tmp_path, one_line):
    before = digest()
    shutil.rmtree(folder)
    with one_line(ValueError, "pictures/train does not exist"):
        digest()
    (tmp_path / "made").touch()
    assert digest() == before
