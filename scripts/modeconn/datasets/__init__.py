"""Data sets: a source becomes one file of tensors; training reads batches of it on the device.

Images stay uint8 (N, C, H, W) on the device, augmentation is batched there, and no worker process
is needed: a batch of small images is quicker to augment than to hand over. Points in the plane and
other features are images of one pixel, float32 (N, F, 1, 1).

A source is a module here, imported where its name is dispatched on: `read(source, downloads)` gives
(train, test, statistics), where a split is (images, labels) with labels an int64 array, test is None
where the source has none of its own, and statistics, (mean, std) per channel, is None where they are
to be estimated.
"""

import math
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import torch

from modeconn.dispatch import SOURCES, augments
from modeconn.randomness import Generators, generator

DOWNLOADS = "results/downloads"


@dataclass(frozen=True)
class Dataset:
    """One data set on a device; images (N, C, H, W), labels int64 (N,), mean and std per channel.

    Images are uint8, with mean and std in units of [0, 1], or float32 as they are. `alignment` is a
    plain tensor of indices: `dataclasses.replace(dataset, alignment=torch.arange(10_000))` is the
    choice of Tatro et al. 2020.
    """

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    alignment: torch.Tensor  # indices into the training split
    mean: list
    std: list
    classes: int
    hold_out_images: torch.Tensor | None = None
    hold_out_labels: torch.Tensor | None = None

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
        """A batch of images as networks take them, to trace one with."""
        return to_float(self.train_images[:count])

    def split(self, name):
        """(images, labels) of the split `train`, `test`, `alignment` or `hold_out`.

        Raises ValueError where nothing is held out.
        """
        if name == "alignment":
            return self.train_images[self.alignment], self.train_labels[self.alignment]
        if name == "hold_out" and self.hold_out_images is None:
            raise ValueError("the data set holds out no images: give it hold_out in the config")
        return getattr(self, f"{name}_images"), getattr(self, f"{name}_labels")


def prepare(source, downloads=DOWNLOADS):
    """Tensors and metadata of the data set that `source` describes: {"source", "alignment_fraction", "seed", ...}.

    All draws are stratified, by the data set's seed, and in this order: `test_fraction` of the images
    where the source has no test split; `train_images` and `test_images` of what there is, 0 for all;
    `hold_out` images out of the training split; and of the rest `alignment_fraction` is marked for
    alignment, the same images for every pair of networks (Tatro et al. 2020 take the first 10,000
    images, which on class-ordered data holds only some classes).
    downloads: folder for archives. Raises ValueError or OSError, one line, for what is absent or does not fit.
    """
    train, test, statistics = read(source, downloads)
    _check(train, "training")
    if test is None:
        chosen = stratified(train[1], source["test_fraction"], _stream("test split", source))
        train, test = _without(train, chosen), _only(train, chosen)
    classes = int(max(train[1].max(initial=0), test[1].max(initial=0))) + 1
    for split, what in ((train, "training"), (test, "test")):
        _check(split, what, classes, train[0].shape[1:])
    if classes < 2:
        raise ValueError("all labels are the same, and networks tell classes apart: give at least two classes")
    train = _limited(train, source.get("train_images", 0), "train_images", source)
    test = _limited(test, source.get("test_images", 0), "test_images", source)
    held = None
    if count := source.get("hold_out", 0):
        chosen = stratified_count(train[1], count, "hold_out", _stream("hold out", source))
        train, held = _without(train, chosen), _only(train, chosen)
    _check(train, "training", classes, remedy="raise train_images, or lower hold_out")
    _check(test, "test", classes, remedy="raise test_images")
    alignment = stratified(train[1], source["alignment_fraction"], _stream("alignment split", source))
    if not len(alignment):
        raise ValueError(
            f"alignment_fraction {source['alignment_fraction']} of {len(train[1])} training images is none: raise it"
        )

    tensors = {"alignment": torch.from_numpy(alignment)}
    for name, split in (("train", train), ("test", test), ("hold_out", held)):
        if split is not None:
            tensors |= {f"{name}_images": split[0], f"{name}_labels": torch.from_numpy(split[1])}
    mean, std = statistics or moments(train[0])
    return tensors, {"classes": classes, "mean": list(mean), "std": list(std)}


def read(source, downloads):
    """The result of the source's module: (train, test or None, statistics or None)."""
    return import_module(f"modeconn.datasets.{SOURCES[source['source']]}").read(source, downloads)


def stratified(labels, fraction, rng):
    """Sorted indices of `fraction` of each class (rounded), drawn at random; labels (N,) int64 array."""
    return _drawn(labels, [round(fraction * size) for size in np.unique_counts(labels).counts.tolist()], rng)


def stratified_count(labels, count, key, rng):
    """Sorted indices of `count` images, each class by its share; `key` of the config asks for them.

    Shares are rounded down; the remaining images go to the classes with the largest remainders.
    Raises ValueError where there are no more than `count` images.
    """
    if count >= len(labels):
        raise ValueError(f"{key} {count}: there are only {len(labels)} images to take them from: lower it")
    quotas = count * np.unique_counts(labels).counts / len(labels)
    sizes = np.floor(quotas).astype(int)
    sizes[np.argsort(sizes - quotas, kind="stable")[: count - sizes.sum()]] += 1
    return _drawn(labels, sizes.tolist(), rng)


def _drawn(labels, sizes, rng):
    """Sorted indices of `sizes[i]` images of the i-th class, drawn at random."""
    chosen = []
    for label, size in zip(np.unique(labels), sizes):
        members = np.flatnonzero(labels == label)
        order = torch.randperm(len(members), generator=rng).numpy()
        chosen.append(members[order[:size]])
    return np.sort(np.concatenate(chosen))


def _stream(what, source):
    return generator(what, source["seed"])


def _only(split, indices):
    images, labels = split
    return images[indices], labels[indices]


def _without(split, indices):
    return _only(split, np.setdiff1d(np.arange(len(split[1])), indices))


def _limited(split, count, key, source):
    """`count` images of a split, drawn by class, or all for 0."""
    if count in (0, len(split[1])):
        return split
    return _only(split, stratified_count(split[1], count, key, _stream(key, source)))


def _check(split, what, classes=0, shape=None, remedy="give it some, or number the classes from 0 without gaps"):
    """Raises ValueError where a split is empty, lacks one of `classes`, or has images of another `shape`."""
    images, labels = split
    if len(labels) == 0:
        raise ValueError(f"there are no {what} images")
    missing = np.setdiff1d(np.arange(classes), labels)
    if len(missing):
        raise ValueError(f"class {missing[0]} of {classes} has no {what} image: {remedy}")
    if shape is not None and images.shape[1:] != shape:
        raise ValueError(
            f"{what} images have shape {tuple(images.shape[1:])}, training images {tuple(shape)}: they have to agree"
        )


def moments(images):
    """Mean and standard deviation (unbiased) of each channel of images (N, C, H, W), as lists.

    Pixels are counted, not summed: exact, and no copy in a wider type. They are in units of [0, 1] and
    rounded to six digits; features keep theirs, and one that is constant has a deviation of 1.
    """
    if images.dtype != torch.uint8:
        std, mean = torch.std_mean(images.double(), (0, 2, 3))
        return mean.tolist(), [s or 1.0 for s in std.tolist()]
    levels = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)]).double()
    total = counts.sum(1)
    mean = counts @ levels / total
    variance = (counts * (levels - mean[:, None]) ** 2).sum(1) / (total - 1)
    return [round(m, 6) for m in mean.tolist()], [round(s, 6) or 1.0 for s in variance.sqrt().tolist()]


def to_float(images):
    """Images (..., C, H, W) as networks take them: float32, same shape, channels last in memory.

    uint8 pixels become [0, 1], floats stay what they are.
    """
    return channels_last(images.float().div_(255) if images.dtype == torch.uint8 else images)


def channels_last(images):
    """Images (..., C, H, W), the same but with the channels last in memory: convolutions are faster so on a CPU.

    Grey images have the same memory in both formats; only strides tell them apart: here the channel's stride is 1.
    """
    if images.shape[-3] == 1:
        return images.squeeze(-3).unsqueeze(-1).movedim(-1, -3)
    return images.movedim(-3, -1).contiguous().movedim(-1, -3)


def batches(dataset, seeds, epoch, first, size, augmentation):
    """One epoch of the training split for each lane, from step `first` on.

    Yields images (L, N, C, H, W) as `to_float` gives them, labels (L, N) and generators, one a lane,
    for whatever else is drawn for the batch. A lane's order is drawn from (seeds[l], epoch), its
    augmentation from (seeds[l], epoch, step) alone: it does not depend on other lanes, and an epoch can
    be resumed at any step. augmentation: as `augmentation.augment` takes it.
    """
    augment = _augment(augmentation)
    device = dataset.train_images.device
    count = len(dataset.train_labels)
    order = torch.stack([torch.randperm(count, generator=generator("order", seed, epoch)) for seed in seeds]).to(device)
    for step, index in enumerate(order.split(size, dim=1)):
        if step < first:
            continue
        generators = Generators([("batch", seed, epoch, step) for seed in seeds], device)
        # Image by image a copy of its memory, which indexing is not: for small networks a fifth of a step.
        images = dataset.train_images.index_select(0, index.flatten()).unflatten(0, index.shape)
        if augment is not None:
            images = torch.stack([augment(lane, augmentation, g) for lane, g in zip(images, generators)])
        yield to_float(images), dataset.train_labels[index], generators


def steps_per_epoch(dataset, size):
    """How many batches of `size` images `batches` makes of the training split."""
    return math.ceil(len(dataset.train_labels) / size)


def mixed(labels, count=0):
    """Indices of `count` images (0: all) that hold the classes of `labels` (N,) by their shares, in mixed order.

    All in their own order, where classes are mixed in it; else in random order: folders are read class by class, and a
    batch of one class is normalized as no batch in training was. A part is spread evenly over classes that lie in
    blocks, and drawn at random of others: equal steps through labels that repeat would meet one class.
    """
    total = len(labels)
    count = min(count or total, total)
    steps = labels.diff()
    in_blocks = not (steps < 0).any() or steps.count_nonzero() < total / 4
    if count == total and not in_blocks:
        return torch.arange(total, device=labels.device)
    order = torch.randperm(count if in_blocks else total, generator=generator("mixed"))[:count].to(labels.device)
    return order * total // count if in_blocks else order


def in_order(images, size, augmentation=None):
    """Batches (1, N, C, H, W) of images (N, C, H, W) as `to_float` gives them, in their order, for evaluation.

    augmentation: as `augmentation.augment` takes it; drawn from a batch's number alone, so the same in every pass.
    """
    augment = _augment(augmentation or {})
    for step, batch in enumerate(images.split(size)):
        if augment is not None:
            batch = augment(batch, augmentation, generator("in order", step, device=batch.device))
        yield to_float(batch)[None]


def _augment(augmentation):
    """`augmentation.augment` where it changes anything, else None."""
    if not augments(augmentation):
        return None
    from modeconn.datasets.augmentation import augment  # in the fingerprint of jobs with augmentation only

    return augment
