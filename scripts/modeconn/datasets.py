"""Data sets: a source becomes one file of tensors; training reads batches of it on the device.

Images stay uint8 (N, C, H, W) on the device, augmentation is batched there, and no worker process
is needed: a batch of small images is quicker to augment than to hand over.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from modeconn.randomness import generator


@dataclass(frozen=True)
class Dataset:
    """One data set on a device; images uint8 (N, C, H, W), labels int64 (N,), mean and std per channel in [0, 1]."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    alignment: torch.Tensor  # indices into the training split
    mean: list
    std: list
    classes: int

    @classmethod
    def of(cls, tensors, metadata, device):
        """From the artifact that `prepare` describes."""
        on_device = {name: tensor.to(device) for name, tensor in tensors.items()}
        return cls(**on_device, **{key: metadata[key] for key in ("mean", "std", "classes")})

    @property
    def shape(self):
        """(C, H, W) of one image."""
        return tuple(self.train_images.shape[1:])

    def example(self, count=2):
        """A batch of images in [0, 1], to trace a network with."""
        return to_float(self.train_images[:count])

    def split(self, name):
        """(images, labels) of the split `train`, `test` or `alignment`."""
        if name == "alignment":
            return self.train_images[self.alignment], self.train_labels[self.alignment]
        return getattr(self, f"{name}_images"), getattr(self, f"{name}_labels")


def prepare(source):
    """Tensors and metadata of the data set that `source` describes: {"source", "size", "seed", ...}.

    A stratified share of the training split, `alignment_fraction`, drawn once with the data set's
    seed, is set apart for alignment: the same images for every pair of networks (Tatro et al. 2020
    take the first 10,000 images, which on class-ordered data holds only some classes).
    """
    images, labels = SOURCES[source["source"]](source)
    test = stratified(labels, source["test_fraction"], generator("test split", source["seed"]))
    train = np.setdiff1d(np.arange(len(labels)), test)
    alignment = stratified(labels[train], source["alignment_fraction"], generator("alignment split", source["seed"]))
    pixels = images[train].double() / 255
    tensors = {
        "train_images": images[train],
        "train_labels": torch.from_numpy(labels[train]),
        "test_images": images[test],
        "test_labels": torch.from_numpy(labels[test]),
        "alignment": torch.from_numpy(alignment),
    }
    metadata = {
        "classes": int(labels.max()) + 1,
        "mean": [round(m, 6) for m in pixels.mean((0, 2, 3)).tolist()],
        "std": [round(s, 6) for s in pixels.std((0, 2, 3)).tolist()],
    }
    return tensors, metadata


def stratified(labels, fraction, rng):
    """Sorted indices of `fraction` of each class (rounded), drawn at random; labels (N,) int64 array."""
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        order = torch.randperm(len(members), generator=rng).numpy()
        chosen.append(members[order[: round(fraction * len(members))]])
    return np.sort(np.concatenate(chosen))


def _digits(source):
    """scikit-learn's handwritten digits: 1,797 grey images of 8x8 in 17 levels, enlarged to `size`."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images)[:, None]
    enlarged = F.interpolate(images, size=(source["size"],) * 2, mode="bilinear", align_corners=False)
    return (enlarged * (255 / 16)).round().to(torch.uint8), bunch.target.astype(np.int64)


SOURCES = {"digits": _digits}


def to_float(images):
    """uint8 pixels (..., C, H, W) -> float32 in [0, 1], same shape, channels last in memory.

    Convolutions of colour images and their gradients are a sixth faster so on a CPU.
    """
    values = images.float().div_(255)
    return values.movedim(-3, -1).contiguous().movedim(-1, -3)


def batches(dataset, seeds, epoch, first, size, augmentation):
    """One epoch of the training split for each lane, from step `first` on.

    Yields images (L, N, C, H, W) in [0, 1], labels (L, N) and generators, one a lane, for whatever
    else is drawn for the batch. A lane's order is drawn from (seeds[l], epoch), its augmentation
    from (seeds[l], epoch, step) alone: it does not feel its neighbours, and an epoch can be taken
    up at any step.
    """
    device = dataset.train_images.device
    count = len(dataset.train_labels)
    order = torch.stack([torch.randperm(count, generator=generator("order", seed, epoch)) for seed in seeds]).to(device)
    for step, index in enumerate(order.split(size, dim=1)):
        if step < first:
            continue
        generators = [generator("batch", seed, epoch, step, device=device) for seed in seeds]
        images = dataset.train_images[index]
        if augmentation["shift"]:
            images = torch.stack([augment(lane, augmentation, g) for lane, g in zip(images, generators)])
        yield to_float(images), dataset.train_labels[index], generators


def augment(images, augmentation, rng):
    """Random changes of images (N, C, H, W), each image its own; fills with zeros.

    augmentation: {"shift": largest move in pixels along each side}.
    """
    return shift(images, augmentation["shift"], rng)


def shift(images, pixels, rng):
    """Each image moved by up to `pixels` along each side: a random crop of the padded image."""
    count, _, height, width = images.shape
    device = images.device
    padded = F.pad(images, (pixels,) * 4)
    top, left = torch.randint(0, 2 * pixels + 1, (2, count, 1), generator=rng, device=device)
    rows = (top + torch.arange(height, device=device))[:, :, None]
    columns = (left + torch.arange(width, device=device))[:, None, :]
    image = torch.arange(count, device=device)[:, None, None]
    return padded[image, :, rows, columns].permute(0, 3, 1, 2)


def in_order(images, size):
    """Batches (1, N, C, H, W) in [0, 1] of uint8 images (N, C, H, W), in their order, for evaluation."""
    for batch in images.split(size):
        yield to_float(batch)[None]
