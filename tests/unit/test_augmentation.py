"""Augmentation: each change against torchvision's on the same parameters, and what is drawn for an image."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as T

from modeconn import datasets
from modeconn.datasets import augmentation
from modeconn.randomness import generator

CIFAR = {"shift": 4, "flip": True, "rotation": 15}
TINY_IMAGENET = {"shift": 8, "flip": True, "rotation": 30, "scale": [0.8, 1.2], "contrast": 0.25, "saturation": 0.25}


@pytest.fixture(scope="module")
def digits():
    return (torch.from_numpy(load_digits().images[:60])[:, None] * 15).to(torch.uint8).repeat(1, 1, 2, 2)


@pytest.fixture(scope="module")
def photos():
    """40 images of colour noise, nowhere black, 20 high and 24 wide."""
    rng = torch.Generator().manual_seed(1)
    return torch.randint(1, 256, (40, 3, 20, 24), generator=rng).to(torch.uint8)


def drawn(count, low, high, name):
    return low + (high - low) * torch.rand(count, generator=generator(name))


# Where things go


def turned(image, angle, scale):
    return T.affine(image, angle, [0, 0], scale, [0.0], InterpolationMode.NEAREST, fill=[0.0])


@pytest.mark.parametrize("shape", [(20, 24), (32, 32), (33, 17)])
def test_turning_and_scaling_are_those_of_torchvision(shape):
    rng = torch.Generator().manual_seed(2)
    images = torch.randint(1, 256, (60, 3, *shape), generator=rng).to(torch.uint8)
    angles, scales = drawn(60, -180, 180, "angle"), drawn(60, 0.5, 2, "scale")
    moved = augmentation.move(images, angle=angles, scale=scales)
    expected = torch.stack([turned(image, a, s) for image, a, s in zip(images, angles.tolist(), scales.tolist())])
    # A pixel whose source lies between two others to the last bit of a float may take either.
    assert (moved != expected).float().mean() < 1e-4
    assert (expected == 0).any()


def test_turning_is_that_of_pillow_but_for_its_fixed_point(photos):
    """The reference turned Pillow's images, whose coordinates are rounded to 1/65536 of a pixel."""
    angles = drawn(40, -15, 15, "angle")
    moved = augmentation.move(photos, angle=angles)
    expected = torch.stack(
        [T.pil_to_tensor(turned(T.to_pil_image(i), a, 1.0)) for i, a in zip(photos, angles.tolist())]
    )
    assert (moved != expected).float().mean() < 2e-3


def test_quarter_turns_are_exact(photos):
    squares = photos[..., :20]
    moved = augmentation.move(squares[:2], angle=torch.tensor([90.0, -180.0]))
    assert torch.equal(moved, torch.stack([squares[0].rot90(-1, (1, 2)), squares[1].rot90(2, (1, 2))]))


def test_all_at_once_is_one_after_the_other(photos):
    count, pad = len(photos), 5
    angles, scales = drawn(count, -40, 40, "angle"), drawn(count, 0.6, 1.4, "scale")
    mirrored = drawn(count, 0, 1, "mirror") < 0.5
    down, right = torch.randint(-pad, pad + 1, (2, count), generator=generator("crop"))
    at_once = augmentation.move(photos, down=down, right=right, mirrored=mirrored, angle=angles, scale=scales)
    for n, image in enumerate(augmentation.move(photos, angle=angles, scale=scales)):
        image = T.hflip(image) if mirrored[n] else image
        expected = T.crop(T.pad(image, [pad] * 4), int(down[n]) + pad, int(right[n]) + pad, 20, 24)
        assert torch.equal(at_once[n], expected)


def test_nothing_is_moved_where_nothing_is_asked_for(photos):
    zero = torch.zeros(len(photos))
    assert torch.equal(augmentation.move(photos), photos)
    still = {"down": zero.long(), "right": zero.long(), "mirrored": zero > 0, "angle": zero, "scale": zero + 1}
    assert torch.equal(augmentation.move(photos, **still), photos)


# Colours


def test_contrast_and_saturation_are_those_of_torchvision(photos):
    images, factors = photos / 255, drawn(len(photos), 0, 2, "factor")
    for ours, theirs in (
        (augmentation.with_contrast, T.adjust_contrast),
        (augmentation.with_saturation, T.adjust_saturation),
    ):
        expected = torch.stack([theirs(image, factor) for image, factor in zip(images, factors.tolist())])
        torch.testing.assert_close(ours(images, factors), expected, rtol=0, atol=1e-6)
        assert expected.max() == 1


def test_contrast_of_grey_is_that_of_torchvision(digits):
    images, factors = digits / 255, drawn(len(digits), 0, 2, "factor")
    expected = torch.stack([T.adjust_contrast(image, factor) for image, factor in zip(images, factors.tolist())])
    torch.testing.assert_close(augmentation.with_contrast(images, factors), expected, rtol=0, atol=1e-6)


def test_colours_change_in_either_order(photos):
    """The factors are recovered from the draws, in the order that `augment` makes them."""
    found = augmentation.augment(photos, {"contrast": 0.9, "saturation": 0.9}, generator("jitter"))
    rng = generator("jitter")
    contrast, first, saturation = torch.rand(3, len(photos), generator=rng)
    contrast, first, saturation = 0.1 + 1.8 * contrast, first < 0.5, 0.1 + 1.8 * saturation
    assert 10 < first.sum() < 30
    other_order = 0
    for n, image in enumerate(photos / 255):
        changes = [(T.adjust_contrast, contrast[n].item()), (T.adjust_saturation, saturation[n].item())]
        results = []
        for order in (changes, changes[::-1]):
            result = image
            for change, factor in order:
                result = change(result, factor)
            results.append(result)
        ours, theirs = results if first[n] else results[::-1]
        torch.testing.assert_close(found[n], ours, rtol=0, atol=2e-6)
        other_order += not torch.allclose(found[n], theirs, atol=1e-3)
    assert other_order > 20


def test_grey_images_have_no_saturation(digits):
    assert torch.equal(augmentation.augment(digits, {"saturation": 0.5}, generator("grey")), digits)
    both = augmentation.augment(digits, {"contrast": 0.5, "saturation": 0.5}, generator("grey"))
    assert torch.equal(both, augmentation.augment(digits, {"contrast": 0.5}, generator("grey")))


def test_colours_of_other_images_are_one_line(one_line):
    with one_line(ValueError, "contrast", "2 channels"):
        augmentation.augment(torch.zeros(3, 2, 4, 4), {"contrast": 0.5}, generator("colours"))


def test_features_are_not_augmented(one_line):
    with one_line(ValueError, "features", "leave it out of the recipe"):
        augmentation.augment(torch.zeros(3, 2, 1, 1), {"shift": 1}, generator("points"))


# What is drawn


def test_shift_is_a_crop_of_the_padded_image_at_the_drawn_offsets(digits):
    pixels = 2
    shifted = augmentation.augment(digits, {"shift": pixels}, generator("shift"))
    top, left = torch.randint(0, 2 * pixels + 1, (2, 60, 1), generator=generator("shift"))[..., 0].tolist()
    assert len(set(zip(top, left))) > 15
    for image, moved, down, right in zip(digits, shifted, top, left):
        padded = F.pad(image, (pixels, pixels, pixels, pixels))
        assert torch.equal(moved, padded[:, down : down + 16, right : right + 16])


def test_shift_keeps_the_channels_of_an_image_together(digits):
    images = digits[:20].repeat(1, 3, 1, 1) // torch.tensor([1, 2, 3], dtype=torch.uint8).view(3, 1, 1)
    shifted = augmentation.augment(images, {"shift": 2}, generator("shift"))
    assert torch.equal(shifted[:, 1], shifted[:, 0] // 2)
    assert torch.equal(shifted[:, 2], shifted[:, 0] // 3)


def test_neutral_values_change_nothing(photos):
    neutral = {"shift": 0, "flip": False, "rotation": 0, "scale": [1, 1], "contrast": 0, "saturation": 0}
    assert torch.equal(augmentation.augment(photos, neutral, generator("neutral")), photos)


def test_every_other_image_is_mirrored():
    images = torch.arange(2, dtype=torch.uint8).expand(2000, 1, 1, 2)
    mirrored = augmentation.augment(images, {"flip": True}, generator("flip"))[:, 0, 0, 0]
    # Five standard deviations about a half.
    assert abs(mirrored.float().mean() - 0.5) < 5 * 0.5 / 2000**0.5


def captured(monkeypatch, images, of):
    """What `augment` draws, and hands to `move`."""
    found = {}
    monkeypatch.setattr(augmentation, "move", lambda images, **moves: found.update(moves) or images)
    augmentation.augment(images, of, generator("range"))
    return found


def test_angles_scales_and_moves_fill_their_ranges(monkeypatch):
    moves = captured(monkeypatch, torch.zeros(2000, 3, 2, 2, dtype=torch.uint8), TINY_IMAGENET)
    assert moves.keys() == {"down", "right", "mirrored", "angle", "scale"}
    assert moves["down"].unique().tolist() == moves["right"].unique().tolist() == list(range(-8, 9))
    for name, low, high in (("angle", -30, 30), ("scale", 0.8, 1.2)):
        values = moves[name]
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 5 * (high - low) / 12**0.5 / 2000**0.5
    pairs = torch.stack([moves[name].float() for name in ("down", "right", "mirrored", "angle", "scale")])
    assert (torch.corrcoef(pairs) - torch.eye(5)).abs().max() < 0.1


def test_one_change_is_drawn_without_the_others(monkeypatch):
    images = torch.zeros(5, 3, 2, 2, dtype=torch.uint8)
    assert captured(monkeypatch, images, {"shift": 0, "scale": [0.5, 1]}).keys() == {"scale"}
    assert captured(monkeypatch, images, CIFAR).keys() == {"down", "right", "mirrored", "angle"}


# Batches


@pytest.fixture(scope="module")
def dataset(photos):
    labels = torch.arange(40) % 4
    return datasets.Dataset(photos, labels, photos, labels, torch.arange(10), [0.5] * 3, [0.25] * 3, 4)


def batches(dataset, seeds, epoch, first=0, of=TINY_IMAGENET):
    return [images for images, _, _ in datasets.batches(dataset, seeds, epoch, first, 16, of)]


@pytest.mark.parametrize("of", [CIFAR, TINY_IMAGENET], ids=["moved", "moved and coloured"])
def test_batches_are_those_of_lane_epoch_and_step_alone(dataset, of):
    whole = batches(dataset, [1, 2], 3, of=of)
    assert [tuple(images.shape) for images in whole] == [(2, 16, 3, 20, 24)] * 2 + [(2, 8, 3, 20, 24)]
    assert all(torch.equal(a, b) for a, b in zip(batches(dataset, [1, 2], 3, first=1, of=of), whole[1:], strict=True))
    swapped = batches(dataset, [7, 2, 1], 3, of=of)
    assert all(torch.equal(a[[2, 1]], b) for a, b in zip(swapped, whole, strict=True))
    assert not torch.equal(whole[0][0], whole[0][1])
    assert not torch.equal(whole[0], batches(dataset, [1, 2], 4, of=of)[0])


def test_augmented_batches_are_pixels_in_the_unit_interval_channels_last(dataset):
    for images in batches(dataset, [1], 0):
        assert images.dtype == torch.float32
        assert 0 <= images.min() < images.max() <= 1
        assert images[0].is_contiguous(memory_format=torch.channels_last)


def test_images_of_a_batch_move_each_in_its_own_way(dataset):
    flat = dataclasses.replace(dataset, train_images=torch.full_like(dataset.train_images, 200))
    (images,) = batches(flat, [1], 0, of=CIFAR)[0]
    # All are alike: what differs is where the black of the padding came in.
    assert len({image.numpy().tobytes() for image in images}) == len(images)
