"""Artifacts: written atomically, verified when read, equal bytes for equal content."""

import importlib.util
import os
import re
import stat
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from modeconn import artifacts, files

METADATA = {"rule": "train", "job": {"seeds": [1, 2], "rate": 0.1}, "mean": [0.25]}


def tensors():
    rng = torch.Generator().manual_seed(0)
    return {
        "weights": torch.randn(4, 3, generator=rng),
        "double": torch.randn(2, generator=rng, dtype=torch.float64),
        "indices": torch.tensor([2, 0, 1]),
        "count": torch.tensor(7),
        "images": torch.arange(6, dtype=torch.uint8),
        "nothing": torch.empty(0, 2),
    }


@pytest.fixture
def path(tmp_path):
    artifacts.save(tmp_path / "network.safetensors", tensors(), METADATA)
    return tmp_path / "network.safetensors"


def test_tensors_and_metadata_come_back(path):
    found, metadata = artifacts.load(path)
    assert metadata == METADATA
    assert found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name], tensor)


def test_tensors_are_written_whatever_their_layout(tmp_path):
    weights = torch.randn(3, 4, requires_grad=True)
    written = {
        "turned": weights.T,
        "row": weights[1],
        "whole": weights,
        "expanded": weights[:1, :1].expand(5, 2),
        # What an axis of lanes for one lane looks like: contiguous, with a stride of zero.
        "lane": torch.tensor(7).expand(1).clone(),
    }
    artifacts.save(tmp_path / "file", written, METADATA)
    found, _ = artifacts.load(tmp_path / "file")
    assert found.keys() == written.keys()
    assert all(torch.equal(found[name], written[name]) for name in written)


def test_metadata_need_no_tensors(tmp_path):
    artifacts.save(tmp_path / "file", {}, METADATA)
    assert artifacts.load(tmp_path / "file") == ({}, METADATA)


def test_equal_content_gives_equal_bytes(path, tmp_path):
    reordered = dict(reversed(tensors().items()))
    metadata = {"mean": [0.25], "job": {"rate": 0.1, "seeds": [1.0, 2]}, "rule": "train"}
    artifacts.save(tmp_path / "again", reordered, metadata)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("change", ["tensor", "metadata"])
def test_other_content_gives_other_bytes(path, tmp_path, change):
    values, metadata = tensors(), dict(METADATA)
    if change == "tensor":
        values["weights"][0, 0] += 1e-6
    else:
        metadata["mean"] = [0.26]
    artifacts.save(tmp_path / "other", values, metadata)
    assert (tmp_path / "other").read_bytes() != path.read_bytes()


def test_folders_are_made(tmp_path):
    artifacts.save(tmp_path / "a" / "b" / "file", tensors(), METADATA)
    assert artifacts.load(tmp_path / "a" / "b" / "file")[1] == METADATA


def test_an_absent_file_is_named(tmp_path, one_line):
    with one_line(ValueError, tmp_path / "absent", "does not exist", "rule"):
        artifacts.load(tmp_path / "absent")


def test_a_folder_in_place_of_a_file_is_named(tmp_path, one_line):
    with one_line(ValueError, tmp_path):
        artifacts.load(tmp_path)


def test_a_truncated_file_is_named(path, one_line):
    content = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with one_line(ValueError, path, "damaged", "again"):
            artifacts.load(path)


def flipped(content, position):
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def data_start(content):
    return 8 + int.from_bytes(content[:8], "little")


def test_a_flipped_byte_in_any_tensor_is_named_with_the_rule(path, one_line):
    content = path.read_bytes()
    for position in range(data_start(content), len(content)):
        path.write_bytes(flipped(content, position))
        with one_line(ValueError, path, "damaged", "rule train", "again"):
            artifacts.load(path)


def test_a_flipped_byte_anywhere_in_the_header_is_named(path, one_line):
    content = path.read_bytes()
    header = content[: data_start(content)]
    # safetensors fills the header up with spaces, which say nothing.
    for position in range(len(header.rstrip())):
        path.write_bytes(flipped(content, position))
        with one_line(ValueError, path, "damaged", "again"):
            artifacts.load(path)


@pytest.mark.parametrize("kind", ["text", "foreign metadata"])
def test_what_is_no_artifact_is_named(tmp_path, one_line, kind):
    path = tmp_path / "file"
    if kind == "text":
        path.write_text("network,recipe,loss\n")
    else:
        save_file(tensors(), path, metadata={artifacts.KEY: "[1, 2]"})
    with one_line(ValueError, path, "damaged", "run the rule that makes it again"):
        artifacts.load(path)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: torch.save({"weight": torch.ones(2)}, path), "is a checkpoint as torch.save writes it"),
        (lambda path: torch.save([1], path, _use_new_zipfile_serialization=False), "is a checkpoint as torch.save"),
        (lambda path: save_file({"weight": torch.ones(2)}, path), "is a safetensors file that this project has"),
        (os.mkfifo, "is no file"),
        (os.mkdir, "is no file"),
    ],
)
def test_what_was_not_made_here_is_not_called_damaged(tmp_path, write, words):
    path = tmp_path / "own.safetensors"
    write(path)
    assert artifacts.checksum(path) is None
    with pytest.raises(ValueError, match="give a file from rule train") as caught:
        artifacts.load(path, rule="train")
    message = str(caught.value)
    assert message.startswith(f"{path} {words}")
    assert "delete" not in message and "\n" not in message


def test_an_artifact_whose_header_is_as_long_as_a_pickle_begins_is_one(tmp_path):
    """The length of the header comes first: 128, or 640, are the first bytes of a pickle."""
    for filler in range(700):
        path = tmp_path / "file.safetensors"
        artifacts.save(path, {"a": torch.ones(1)}, {"rule": "train", "filler": "x" * filler})
        assert artifacts.load(path)[1]["rule"] == "train"


def test_a_damaged_file_behind_a_link_is_named_with_both_paths(path, tmp_path, one_line):
    link = tmp_path / "results" / "link.safetensors"
    link.parent.mkdir()
    link.symlink_to(path)
    assert artifacts.load(link)[1] == METADATA
    path.write_bytes(path.read_bytes()[:-1])
    with one_line(ValueError, link, path, "damaged"):
        artifacts.load(link)


def test_writing_replaces_a_link_and_not_the_file_behind_it(path, tmp_path):
    before = path.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(path)
    artifacts.save(link, {"other": torch.ones(1)}, METADATA)
    assert not link.is_symlink()
    assert path.read_bytes() == before


class Broken(Exception):
    pass


def test_a_failing_write_leaves_the_old_file_and_no_other(path):
    before = path.read_bytes()
    with pytest.raises(Broken), files.replacing(path) as temporary:
        temporary.write_text("half of it")
        raise Broken
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_failing_replacement_leaves_the_old_file_and_no_other(path, monkeypatch):
    before = path.read_bytes()

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        artifacts.save(path, {"other": torch.ones(1)}, METADATA)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_nothing_is_there_before_the_end(tmp_path):
    with files.replacing(tmp_path / "file") as temporary:
        temporary.write_text("all of it")
        assert not (tmp_path / "file").exists()
    assert (tmp_path / "file").read_text() == "all of it"


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, umask, expected):
    before = os.umask(umask)
    try:
        files.write_text(tmp_path / "file", "text")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == expected


def test_rows_are_tidy_csv_with_nine_digits(tmp_path):
    rows = [{"t": 0.5, "loss": 1 / 3, "pair": "1-2", "epoch": 10}, {"t": 1.0, "loss": 1e-12, "pair": "", "epoch": 11}]
    artifacts.write_rows(tmp_path / "rows.csv", rows)
    assert (tmp_path / "rows.csv").read_bytes() == b"t,loss,pair,epoch\n0.5,0.333333333,1-2,10\n1,1e-12,,11\n"


def test_rows_of_other_keys_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="extra"):
        artifacts.write_rows(tmp_path / "rows.csv", [{"t": 1}, {"t": 2, "extra": 3}])
    assert os.listdir(tmp_path) == []


def test_versions_name_the_kind_of_device_and_which_it_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    network = {"family": "tinyten"}
    on_gpu, on_cpu = (artifacts.versions(device, network) for device in ("cuda:1", "cpu"))
    assert (on_gpu["device"], on_gpu["instructions"]) == ("cuda", "NVIDIA H100")
    assert (on_cpu["device"], on_cpu["instructions"]) == ("cpu", torch.backends.cpu.get_cpu_capability())
    assert on_cpu["torch"] == torch.__version__
    # bfloat16 has kernels of its own where the processor has AMX.
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    reduced = artifacts.versions("cpu", network | {"precision": "bfloat16"})
    assert reduced["instructions"] == on_cpu["instructions"] + " AMX"


def test_versions_name_torchvision_where_it_built_the_network(monkeypatch):
    source = Path(importlib.util.find_spec("torchvision").origin).with_name("version.py").read_text()
    monkeypatch.setitem(sys.modules, "torchvision", None)  # an import of it would fail
    assert "torchvision" not in artifacts.versions("cpu", {"family": "tinyten"})
    found = artifacts.versions("cpu", {"family": "torchvision", "model": "resnet18"})["torchvision"]
    assert re.search(rf"__version__ = '{re.escape(found)}\b", source)


@pytest.mark.parametrize(
    "read",
    [lambda path: artifacts.load(path)[0]["weight"][1], lambda path: artifacts.load_lane(path, 1)["weight"]],
    ids=["whole", "lane"],
)
def test_what_was_read_and_checked_does_not_change_with_the_file(tmp_path, read):
    """It is a copy: a view would keep all lanes of the file in memory, and read later what stands there then."""
    path = tmp_path / "a.safetensors"
    artifacts.save(path, {"weight": torch.ones(3, 2**12)}, METADATA, lanes=True)
    found = read(path)
    with path.open("r+b") as file:
        file.seek(-3 * 2**14, 2)
        file.write(bytes(3 * 2**14))
    assert torch.equal(found, torch.ones(2**12))
