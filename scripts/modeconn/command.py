"""The command `modeconn connect A B --network ... --data ...`: are a user's two networks connected?"""

import argparse
import json
import math
import os
import platform
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modeconn import errors, own_code

DESCRIPTION = """Are two networks connected by a line of low loss, as they are or with their neurons matched?

Nothing of a checkpoint is executed. A file.py that --network or --data names is your own code, and is run."""

IMAGES = ("PIL", "torchvision", "tqdm")  # of the extra `images`: for folders of images, and torchvision's networks


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="modeconn", description=DESCRIPTION.split("\n")[0])
    commands = result.add_subparsers(required=True, metavar="COMMAND")
    connect = commands.add_parser(
        "connect",
        help=DESCRIPTION.split("\n")[0],
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    connect.add_argument(
        "checkpoints",
        nargs=2,
        metavar="CHECKPOINT",
        help="state dicts: .safetensors, or torch.save's; of a file with several the one under a key, as a.pt:ema",
    )
    connect.add_argument(
        "--network",
        required=True,
        metavar="NAME",
        help="a classifier of torchvision (resnet18), or file.py:function that returns a module; the function is given "
        "classes, channels, inputs and shape (C, H, W) where it asks for them",
    )
    connect.add_argument(
        "--data",
        required=True,
        metavar="PATH",
        help="a folder with train/<class>/* and test/<class>/*, an .npz with x_train, y_train, x_test, y_test, or "
        "file.py:function that returns these four, images (N, C, H, W) as the network takes them",
    )
    connect.add_argument(
        "--output", default="connected", metavar="FOLDER", help="for the page and checkpoints (%(default)s)"
    )
    connect.add_argument(
        "--size", type=_positive, metavar="N", help="side, in pixels, to which a folder's images are resized"
    )
    connect.add_argument(
        "--classes", type=_positive, metavar="N", help="classes of the network (as many as the data have)"
    )
    connect.add_argument(
        "--mean", type=float, nargs="+", default=[0.0], help="of each channel, subtracted from pixels in [0, 1] (0)"
    )
    connect.add_argument("--std", type=float, nargs="+", default=[1.0], help="of each channel, divided by (1)")
    connect.add_argument(
        "--images",
        type=_count,
        default=1000,
        metavar="N",
        help="training images to match and to estimate statistics on, 0 for all (%(default)s)",
    )
    connect.add_argument("--test-images", type=_count, default=0, metavar="N", help="to measure on, 0 for all (0)")
    connect.add_argument("--points", type=_points, default=11, metavar="N", help="points on each line (%(default)s)")
    connect.add_argument("--batch", type=_positive, default=128, metavar="N", help="images at once (%(default)s)")
    connect.add_argument("--curve", type=_count, default=0, metavar="EPOCHS", help="fit a Bézier curve too (0: none)")
    connect.add_argument(
        "--symmetry",
        default="none",
        choices=("none", "scale", "orthogonal"),
        help="what weights are matched up to besides permutations: scale, scales of units before ReLU, and scales and "
        "signs within attention; orthogonal, rotations of residual streams that are read through RMS or layer "
        "normalization (%(default)s)",
    )
    connect.add_argument("--threads", type=_positive, metavar="N", help="threads to compute with (torch's default)")
    connect.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="(%(default)s)")
    return result


def _positive(text):
    return _at_least(text, 1)


def _count(text):
    return _at_least(text, 0)


def _points(text):
    return _at_least(text, 3)


def _at_least(text, least):
    if not text.isdigit() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from {least}")
    return int(text)


def main(given: Sequence[str] | None = None) -> None:
    """The console command; a user's mistake ends it with a message of one line."""
    arguments = parser().parse_args(given)
    with errors.in_one_line():
        try:
            _connect(arguments)
        except ModuleNotFoundError as error:
            if error.name not in IMAGES:
                raise
            raise ValueError(f"{error.name} is not installed: pip install 'modeconn[images]' brings it") from error


def _connect(arguments):
    from modeconn import checkpoints  # here, since it imports torch, which takes a second

    states, read = zip(*map(checkpoints.read, arguments.checkpoints))
    # Checked before any data is read, which takes long.
    for option in (arguments.network, arguments.data):
        if own_code.is_named(option) or option.endswith(".py"):
            own_code.digest(option)
    output = _folder(arguments.output)

    import torch

    from modeconn import connecting, files, page

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no GPU here")
    dataset = _dataset(arguments)
    network = _network(arguments, dataset)
    fitted = [checkpoints.fitted(state, network.network, path) for state, path in zip(states, arguments.checkpoints)]
    a, b = ({f"network.{name}": tensor for name, tensor in state.items()} for state, _ in fitted)
    told = [[*notes, *more] for notes, (_, more) in zip(read, fitted)]
    notes = [f"{path}: {note}" for path, lines in zip(arguments.checkpoints, told) for note in lines]
    for note in notes:
        print(f"note: {note}", flush=True)
    setting = connecting.Setting.of(network, dataset, arguments.images, arguments.batch)
    found = connecting.connect(
        setting,
        a,
        b,
        points=arguments.points,
        curve_epochs=arguments.curve,
        symmetry=arguments.symmetry,
        say=lambda line: print(_of_the_file(line), flush=True),
    )

    found = replace(
        found,
        answer=_of_the_file(found.answer),
        unpermuted=found.unpermuted and _of_the_file(found.unpermuted),
        signature=[(group.removeprefix("network."), values) for group, values in found.signature],
        pinned=[_of_the_file(line) for line in found.pinned],
        symmetry=[_of_the_file(line) for line in found.symmetry],
    )
    for line in found.symmetry:
        print(line, flush=True)
    for name, state in (("aligned", found.aligned), ("merged", found.merged)):
        checkpoints.save(output / f"{name}.pt", {key.removeprefix("network."): value for key, value in state.items()})
    first, second = arguments.checkpoints
    facts = {
        "A": first,
        "B": second,
        "network": arguments.network,
        "data": f"{arguments.data}: {found.images['train']:,} training images to match on, "
        f"{found.images['test']:,} test images to measure on",
        "device": f"{arguments.device}, {platform.machine()}, torch {torch.__version__}",
    }
    kept = {
        "aligned.pt": f"B, its neurons in the order of A's ({found.best}); accuracy as B, {found.accuracies['B']:.2%}",
        "merged.pt": f"the middle of A and that; accuracy {found.accuracies['merged']:.2%}",
        "numbers.json": "loss and accuracy along the lines",
    }
    files.write_text(output / "numbers.json", json.dumps(_numbers(found, facts), indent=1) + "\n")
    files.write_text(output / "report.html", page.written(found, facts, notes, kept))
    print(f"{found.answer}; {output / 'report.html'}")


def _folder(path):
    """The folder that is written to. Raises ValueError, one line, where it cannot be."""
    folder = Path(path)
    while not folder.exists():  # the nearest folder that exists; missing ones are made when results are written
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"--output {path}: {folder} is no folder that can be written to: name another one")
    return Path(path)


def _of_the_file(text):
    """The text with modules named as in the user's network, without the `network.` of the module around it."""
    return re.sub(r"\bnetwork\.(?!py\b)(?=\w)", "", text)


def _numbers(found, facts):
    lines = {
        name: {key: getattr(line, key).tolist() for key in ("t", "loss", "accuracy")} | {"quantities": line.quantities}
        for name, line in found.profiles.items()
    }
    signature = [{"group": group, **values} for group, values in found.signature]
    return {
        **facts,
        "answer": found.answer,
        "best": found.best,
        "accuracies": found.accuracies,
        "lines": lines,
        "signature": signature,
        "pinned": found.pinned,
        "symmetry": found.symmetry,
    }


def _dataset(arguments):
    """The data set on its device. Raises ValueError, one line, where it is not as it has to be."""
    from modeconn import connecting, datasets

    named, device = arguments.data, arguments.device
    if own_code.is_named(named):
        given = own_code.call(own_code.load(named, beside=True), named)
        if not isinstance(given, tuple | list) or len(given) != 4:
            raise ValueError(f"{named} has to return x_train, y_train, x_test, y_test")
        dataset = connecting.dataset_of(given[:2], given[2:], device, arguments.classes)
    else:
        source = {"source": "npz" if Path(named).suffix == ".npz" else "image_folder", "path": named}
        source |= {"size": arguments.size, "alignment_fraction": 1, "seed": 0}
        with warnings.catch_warnings(record=True) as caught:  # remarks on the images, to be printed as notes
            warnings.simplefilter("always")
            tensors, metadata = datasets.prepare(source)
        for warning in caught:
            print(f"note: {warning.message}", flush=True)
        metadata |= {"classes": arguments.classes or metadata["classes"]}
        dataset = datasets.Dataset.of(tensors, metadata, device)
    if dataset.classes < 2:
        raise ValueError(
            f"{named}: all labels are the same, and networks tell classes apart: give at least two classes"
        )
    count = min(arguments.test_images or len(dataset.test_labels), len(dataset.test_labels))
    chosen = datasets.mixed(dataset.test_labels, count)
    return replace(dataset, test_images=dataset.test_images[chosen], test_labels=dataset.test_labels[chosen])


def _network(arguments, dataset):
    """The network of --network, which subtracts --mean and divides by --std first: a module, its attribute `network`.

    Raises ValueError, one line, where there is no such network, or it does not take these images.
    """
    from modeconn import connecting, networks
    from modeconn.networks import own

    named, shape, channels = arguments.network, dataset.shape, dataset.shape[0]
    facts = {"classes": dataset.classes, "shape": shape}
    features = shape[1:] == (1, 1)
    if own_code.is_named(named):
        counts = {"channels": channels, "inputs": channels * shape[1] * shape[2]}
        network = own.build(own_code.load(named, beside=True), named, **facts, **counts)
    else:
        from modeconn.networks import torchvision

        if channels == 1:
            channels = torchvision.classifier.CHANNELS  # grey images become three equal channels
        network = torchvision.classifier(named, **facts)
    for option, values in (("--mean", arguments.mean), ("--std", arguments.std)):
        if len(values) not in (1, channels):
            raise ValueError(f"{option} has {len(values)} numbers: the network takes {channels} channels")
        if not all(map(math.isfinite, values)) or (option == "--std" and min(values) <= 0):
            raise ValueError(f"{option} {' '.join(map(str, values))}: give finite numbers, and deviations above 0")
    mean, std = (values * channels if len(values) == 1 else values for values in (arguments.mean, arguments.std))
    wrapped = (connecting.OfFeatures if features else networks.Normalized)(network, mean, std)
    wrapped = wrapped.to(arguments.device)
    own.check(wrapped, named, dataset.example(), dataset.classes)
    return wrapped


if __name__ == "__main__":
    main(sys.argv[1:])
