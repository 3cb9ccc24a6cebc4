"""Data of one's own: remarks reach the screen, and results are made again when the data change."""

import copy
import os
import shutil

import numpy as np

from workflow.checkout import TINY, Checkout


def checkout_with(folder, **arrays):
    """A checkout whose data set is an .npz of `arrays`."""
    config = copy.deepcopy(TINY)
    config["datasets"]["digits"] = {"source": "npz", "path": "own.npz"}
    config["studies"] = {"alignment": TINY["studies"]["alignment"][:1]}
    checkout = Checkout(folder, config)
    np.savez(checkout.path / "own.npz", **arrays)
    return checkout


def arrays(count=40, levels=256, seed=0):
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, levels, (2 * count, 16, 16), np.uint8), np.arange(count) % 10
    return {"x_train": images[:count], "y_train": labels, "x_test": images[count:], "y_test": labels}


def data_of(checkout):
    """The target that asks for the data set alone."""
    done = checkout.run("--dry-run", "--printshellcmds", "networks")
    return next(word for word in (done.stdout + done.stderr).split() if word.endswith(".remarks.txt"))


def test_a_remark_is_on_the_screen_when_the_data_are_made(tmp_path):
    checkout = checkout_with(tmp_path / "project", **arrays(levels=2))
    remarks = data_of(checkout)
    done = checkout.run("--cores", "1", "--", remarks)
    (line,) = (checkout.path / remarks).read_text(encoding="utf-8").splitlines()
    assert "the largest pixel of the training images is 1 where white is 255" in line
    assert line in done.stderr.splitlines()


def test_what_depends_on_the_data_follows_their_content(tmp_path):
    checkout = checkout_with(tmp_path / "project", **arrays())
    checkout.run("--cores", "2", "--", "networks")
    path = checkout.path / "own.npz"
    again = {"prepare_data": 1, "train": 2, "networks": 1}
    before = path.read_bytes()
    os.utime(path)
    assert checkout.planned("networks") == {}
    np.savez(path, **arrays(seed=1))
    assert path.stat().st_size == len(before)
    assert checkout.planned("networks") == again
    path.write_bytes(before)
    assert checkout.planned("networks") == {}
    path.unlink()
    assert checkout.planned("networks") == {}
    shutil.rmtree(checkout.path / "results")
    done = checkout.snakemake("--dry-run", "networks")
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith("config, datasets.digits.path: own.npz is no file")
