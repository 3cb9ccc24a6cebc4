"""Verify which neurons of a network may be permuted, and that it can be measured, before it is trained.

The proof is made once for a network and data set, and again after an edit of its source. Training waits for it, but is
not run again when the proof is repeated.
"""

import argparse
import fcntl
import json
from pathlib import Path

from modeconn import dispatch, errors, files
from modeconn.fingerprint import fingerprint

# torch is imported only where there is work to do.
MODULES = (
    *("batchnorm", "datasets", "functional", "matching.activation", "matching.weight", "networks", "permutation.proof"),
    "permutation.verdict",  # named in `uses`, since its answer is what is kept
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="FILE", help="the data set, from prepare_data")
    parser.add_argument("--job", required=True, type=json.loads, metavar="JSON", help="the values of a training")
    parser.add_argument(
        "--statistics",
        required=True,
        type=json.loads,
        metavar="JSON",
        help="list of the `statistic` of each alignment of the network; without any it need have no groups",
    )
    parser.add_argument(
        "--left-out",
        default=[],
        type=json.loads,
        metavar="JSON",
        help="list of the lists of patterns of parameters that alignments of the network leave out",
    )
    parser.add_argument(
        "--recalibration",
        required=True,
        type=json.loads,
        metavar="JSON",
        help="how statistics of its normalization are estimated anew when it is measured",
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="groups, what is pinned and the proof (JSON)")
    arguments = parser.parse_args()
    uses = [*MODULES, *dispatch.modules({"network": arguments.job["network"]})]
    asked = {"code": fingerprint("check_network", uses), "statistics": arguments.statistics}
    asked |= {"left_out": arguments.left_out, "recalibration": arguments.recalibration}
    output = Path(arguments.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with open(output.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # only one of several trainings makes the proof
        if not _answers(output, asked):
            files.write_text(output, json.dumps({**asked, **prove(arguments)}, indent=1) + "\n")
    found = json.loads(output.read_text(encoding="utf-8"))
    print(found["report"], flush=True)
    if found["draws"] and arguments.job.get("recipe", {}).get("population", 1) > 1:
        from modeconn.functional import DRAWS  # torch takes a second

        raise ValueError(DRAWS)


def _answers(path, asked):
    """Whether the file at `path` was made by this source and for these alignments."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return asked.items() <= found.items()


def prove(arguments):
    """The file's contents. Raises ValueError where the spec is wrong, or the network cannot be aligned or measured."""
    import torch

    from modeconn import artifacts, networks, permutation
    from modeconn.datasets import Dataset
    from modeconn.matching import activation, weight
    from modeconn.permutation import proof, verdict
    from modeconn.randomness import generator

    torch.set_num_threads(arguments.job["threads"])
    dataset = Dataset.of(*artifacts.load(arguments.data, rule="prepare_data"), "cpu")
    check_recalibration(dataset, networks.of(arguments.job["network"], dataset), arguments.recalibration)
    check_buffers(networks.of(arguments.job["network"], dataset), dataset.example())
    network, example = networks.of(arguments.job["network"], dataset), dataset.example()
    spec = permutation.discover(network, example)
    if spec.groups or arguments.statistics:
        spec, found = proof.prove(network, spec, example, generator("verify"))
    else:
        found = proof.Proof(0.0, {})
    for statistic in arguments.statistics:
        activation.check_statistic(spec, statistic)
    for patterns in arguments.left_out:
        weight.without([name for name, _ in network.named_parameters()], patterns)
    return {
        "report": verdict.report(spec, network),
        "groups": spec.groups,
        "free": permutation.freedom(spec, network),
        "channels": permutation.hidden(spec),
        "pinned": spec.pinned,
        "invariance": found.invariance,
        "reactions": found.reactions,
        "draws": draws(network, example),
    }


def check_recalibration(dataset, network, recalibration):
    """Raises ValueError, one line, where statistics cannot be estimated with so many images in batches of this size."""
    from modeconn.batchnorm import recalibrate
    from modeconn.datasets import to_float
    from modeconn.functional import Functional

    total, count = len(dataset.train_labels), recalibration["images"]
    if count > total:
        raise ValueError(
            f"config, evaluation.recalibration.images: {count}, and there are {total} training images: take fewer, or "
            "0 for all"
        )
    if (count or total) % recalibration["batch"] == 1:
        functional = Functional(network)
        vectors, _ = functional.stack([network.state_dict()])
        try:
            recalibrate(functional, vectors, [to_float(dataset.train_images[:1])[None]])
        except ValueError as error:
            raise ValueError(
                f"config, evaluation.recalibration.batch: {recalibration['batch']} of {count or total}: {error}"
            ) from None


def check_buffers(network, example):
    """Raises ValueError, one line, where training changes a buffer that is not estimated anew when it is measured."""
    import torch
    from torch import nn

    layers = {name for name, m in network.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network.train()(example)
    for name, tensor in network.state_dict().items():
        if name.rpartition(".")[0] not in layers and not torch.equal(tensor, before[name]):
            raise ValueError(
                f"buffer {name}: training changes it, and it is no statistic of batch normalization, which alone are "
                "estimated anew between networks: use weight or batch normalization instead"
            )


def draws(network, example):
    """Whether the network draws random numbers in training, as dropout does."""
    import torch

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.get_rng_state()
        network.train()(example)
        return not torch.equal(before, torch.get_rng_state())


if __name__ == "__main__":
    with errors.in_one_line():
        main()
