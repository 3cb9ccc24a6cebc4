"""Remarks on data before networks are trained on them, and data that are refused."""

from pathlib import Path

import numpy as np
import pytest
import synthetic_tables
import torch
from synthetic_tables import run

from modeconn import datasets
from modeconn.datasets import remarks


def noise(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def said_of(train, test=None):
    """Remarks on a data set with the images `train` and `test`."""
    test = noise(2, *train.shape[1:], seed=1).to(train.dtype) if test is None else test
    with pytest.warns(remarks.Remark) as caught:
        remarks.inspect({"train_images": train, "test_images": test})
    return [str(warning.message) for warning in caught]


def test_digits_and_moons_need_no_remark(recwarn):
    for source in ({"source": "digits", "size": 8}, {"source": "moons", "count": 100, "noise": 0.1}):
        tensors, _ = datasets.prepare({"test_fraction": 0.2, "alignment_fraction": 0.2, "seed": 0, **source})
        remarks.inspect(tensors)
    assert not recwarn.list


def one_white(images):
    images[1] = 255
    return images


def one_channel_constant(images):
    images[:, 2] = 7
    return images


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (one_white(noise(4, 3, 5, 5)), "1 of 4 training images are of one colour"),
        (one_channel_constant(noise(4, 3, 5, 5)), "training split, counted from 0: 2"),
        (one_channel_constant(torch.rand(4, 3, 1, 1)), "1 of 3 features are constant"),
        (noise(4, 1, 5, 5) % 2, "the largest pixel of the training images is 1 where white is 255"),
        ((noise(4, 1, 5, 5) % 2) / 255, "is 0.00392 where white is 1"),
    ],
)
def test_what_may_not_be_meant_is_said_once(images, words):
    said = said_of(images)
    assert len(said) == 1 and words in said[0]


@pytest.mark.parametrize("split", ["train", "test", "hold_out"])
@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.full((4, 3, 5, 5), 255, dtype=torch.uint8), "are the same"),
        (noise(1, 3, 5, 5).expand(4, 3, 5, 5), "are the same"),
        (noise(4, 3, 1, 1).expand(4, 3, 5, 5), "each of the 4 {} images is of one colour"),
        (torch.ones(4, 2, 1, 1), "all 4 {} points are the same"),
    ],
)
def test_a_split_with_nothing_to_tell_classes_by_is_refused(one_line, split, images, words):
    tensors = {"train_images": noise(4, *images.shape[1:]), "test_images": noise(2, *images.shape[1:])}
    if images.shape[-1] == 1:
        tensors = {name: of.float() for name, of in tensors.items()}
    what = {"train": "training", "test": "test", "hold_out": "held-out"}[split]
    with one_line(ValueError, words.format(what)):
        remarks.inspect(tensors | {f"{split}_images": images})


def test_remarks_are_kept_beside_the_data(tmp_path):
    images, labels = noise(8, 5, 5).numpy() % 2, np.arange(8) % 2
    np.savez(tmp_path / "own.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    job = '{"threads": 1, "dataset": {"source": "npz", "path": "%s", "alignment_fraction": 0.5, "seed": 0}}'
    path = tmp_path / "own-12345678"
    options = "--output", f"{path}.safetensors", "--remarks", f"{path}.remarks.txt"
    done = run("prepare_data", "--job", job % (tmp_path / "own.npz"), *options)
    assert done.returncode == 0, done.stderr
    (line,) = (tmp_path / "own-12345678.remarks.txt").read_text(encoding="utf-8").splitlines()
    assert line.startswith("own-12345678: the largest pixel of the training images is 1 where white is 255")
    assert line.partition(": ")[2] in done.stdout


def test_the_summary_ends_with_the_remarks(tmp_path):
    tables = synthetic_tables.write(tmp_path)
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "b.txt").write_text(f"own-12345678: one {'long ' * 30}line\nown-12345678: another\n")
    options = [
        part for name in ("pairs", "best", "summary", "signatures") for part in (f"--{name}-table", tables[name])
    ]
    made = {
        name: tmp_path / name for name in ("verdicts-table", "comparison-table", "barrier-comparison-table", "text")
    }
    options += [part for name, path in made.items() for part in (f"--{name}", path)]
    claims = ["--claims", Path(__file__).parents[2] / "config/claims.csv"]
    for given in (["a.txt"], ["a.txt", "b.txt"]):
        done = run("judge_claims", *claims, *options, "--remarks", *[tmp_path / name for name in given])
        assert done.returncode == 0, done.stderr
        text = made["text"].read_text(encoding="utf-8")
        assert ("Look at the data" in text) == (given != ["a.txt"])
    assert max(map(len, text.splitlines())) <= 100
    assert " ".join(text.split()).endswith(f"own-12345678: one {'long ' * 30}line own-12345678: another")
