"""What a config costs: jobs and image passes by network and data set, and hours where the speed has been measured.

Reads what `snakemake --dry-run --printshellcmds` prints, so it counts the jobs of that plan. A pass is one image
forward and backward through one network, as in training; forward alone counts a third, a step of an attack one. What
AutoAttack takes is not known beforehand: jobs under it are not counted. Hours are passes divided by passes a second,
which finished trainings of the same network on the same data have left in their cost files. How many images a data
set has is read from where it stands: the data already made, or the files behind the config's `path`.
"""

import argparse
import json
import re
import shlex
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

from modeconn import cost, mistakes, own_data, provenance
from modeconn.layout import aligned

FORWARD = Fraction(1, 3)
# Images that test_fraction splits, as it does the `count` points in the plane.
TOTALS = {"digits": 1797, "mnist_5k": 5000}
# Images of the training and the test split.
SIZES = {
    "cifar10": (50_000, 10_000),
    "cifar100": (50_000, 10_000),
    "mnist": (60_000, 10_000),
    "fashion_mnist": (60_000, 10_000),
    "tiny_imagenet": (100_000, 10_000),
}


def plan(text):
    """(program, options) of each command of ours in the output of a dry run; --job as it was given."""
    for command in re.findall(r"^\s*(?:Shell command: )?python (?:\S*/)?(\w+\.py --job .*)", text, re.MULTILINE):
        program, *words = shlex.split(command)
        options, name = defaultdict(list), None
        for word in words:
            if word.startswith("--"):
                name = word
            else:
                options[name].append(word)
        yield program.removesuffix(".py"), options


def sizes(dataset, made=None):
    """(training, test) images of a data set, by its values, or by the file `made` of it where that is there.

    Raises ValueError, one line, where the config has a path and what lies there is not as it has to be.
    """
    if made is not None and Path(made).is_file():
        return provenance.splits(made)[:2]
    if "path" in dataset:
        known = own_data.sizes(dataset)
    elif "test_fraction" in dataset:
        total = dataset.get("count") or TOTALS[dataset["source"]]
        test = round(dataset["test_fraction"] * total)
        known = total - test, test
    else:
        known = SIZES[dataset["source"]]
    train, test = (dataset.get(key) or size for key, size in zip(("train_images", "test_images"), known))
    return train - dataset.get("hold_out", 0), test


def passes(program, job, dataset, sizes):
    """Passes of one job, by its program, its values and those of its data set; None where they are not known here.

    sizes: (training, test) images.
    """
    train, test = sizes
    attack = job.get("recipe", job).get("attack")
    if any((one or {}).get("method") == "autoattack" for one in (attack, *job.get("attacks", {}).values())):
        return None
    if program == "train":
        return len(job["seeds"]) * job["recipe"]["epochs"] * train * (1 + _crafted(attack))
    if program == "fit_curve":
        return job["curve"]["epochs"] * train * (1 + _crafted(attack))
    alignment = job.get("alignment")
    matched = dataset["alignment_fraction"] * train
    if program == "align":
        return 2 * (FORWARD * (matched + test) + matched * _crafted(alignment.get("attack")))
    if program == "refine":
        candidates = alignment["samples"] + 2
        return train * (alignment["epochs"] * (1 + _crafted(attack)) + candidates * (FORWARD + _crafted(attack)))
    evaluation = job.get("evaluation") or job.get("plane") or job.get("activations")
    recalibrated = (FORWARD + _crafted(attack)) * (evaluation["recalibration"]["images"] or train) if evaluation else 0
    if program == "evaluate_curve":
        return evaluation["points"] * (recalibrated + FORWARD * (train + test))
    if program == "evaluate_plane":
        return evaluation["points"] ** 2 * (recalibrated + FORWARD * test)
    if program == "evaluate_activations":  # at each point with both ends, at two sites, two networks each
        return evaluation["points"] * (recalibrated + 8 * FORWARD * matched)
    if program == "evaluate_robustness":
        return evaluation["points"] * test * _measured(attack)
    if program == "select_network":
        attacks, selection = job["attacks"], job["selection"]
        selecting = sum(_measured(attacks[name]) for name in {"none", selection})
        # Both ends, the best network, the ensemble of both ends and that along the curve: an image goes through each
        # member once.
        members = 1 + 1 + 1 + 2 + job["ensemble"]
        testing = sum(_measured(attack) for attack in attacks.values())
        return evaluation["points"] * dataset["hold_out"] * selecting + members * test * testing
    return None


def _crafted(attack):
    """Passes that an attack on one image takes, 0 without one; of several attempts the best is looked for."""
    if attack is None:
        return 0
    restarts = attack.get("restarts", 1)
    return restarts * attack["steps"] + (restarts * FORWARD if restarts > 1 else 0)


def _measured(attack):
    """Passes that measuring one image takes, clean or after each attempt of an attack."""
    return FORWARD if attack is None else attack.get("restarts", 1) * (attack["steps"] + FORWARD)


def speed(trainings):
    """(passes a second, device) of trainings that are done, (path, job) each; None where none is."""
    measured = [(cost.read(path), 1 + _crafted(job["recipe"]["attack"])) for path, job in trainings]
    # What was done before a stop counts in the images of a run that was resumed, and not in its seconds.
    whole = [(row, per_image) for row, per_image in measured if row and not row["resumed"]]
    found = [(row["images_per_second"] * per_image, row["device"]) for row, per_image in whole]
    return (sum(rate for rate, _ in found) / len(found), found[0][1]) if found else None


def rows(text):
    """Lines of the table, one for each network and data set, and the number of jobs, by program, not counted."""
    jobs = [(program, options, json.loads(options["--job"][0])) for program, options in plan(text)]
    datasets = {
        path: (job["dataset"], sizes(job["dataset"], path))
        for program, options, job in jobs
        if program == "prepare_data"
        for path in options["--output"][:1]
    }
    found = defaultdict(lambda: [0, 0, []])
    uncounted = defaultdict(int)
    for program, options, job in jobs:
        if program == "prepare_data":
            continue
        count = passes(program, job, *datasets[options["--data"][0]])
        if count is None:
            uncounted[program] += 1
            continue
        entry = found[job["names"]["network"], job["names"]["dataset"]]
        entry[0] += 1
        entry[1] += count
        if program == "train":
            entry[2].append((Path(options["--output"][0]), job))
    return found, uncounted


def table(found, uncounted):
    lines, total, unmeasured = [["network", "data set", "jobs", "million passes", "passes/s", "hours", "on"]], 0, False
    for (network, dataset), (jobs, count, trainings) in sorted(found.items()):
        measured = speed(trainings)
        cells = ["not measured", "", ""]
        if measured:
            rate, device = measured
            total += count / rate / 3600
            cells = [f"{rate:,.0f}", f"{float(count / rate / 3600):,.1f}", device]
        unmeasured |= measured is None
        lines.append([network, dataset, str(jobs), f"{float(count) / 1e6:,.1f}", *cells])
    everything = sum(float(count) for _, count, _ in found.values()) / 1e6
    hours = f"{float(total):,.1f}" if not unmeasured else ""
    lines.append(["all", "", str(sum(jobs for jobs, _, _ in found.values())), f"{everything:,.1f}", "", hours, ""])
    notes = [f"Not counted: {count} jobs of {program}." for program, count in uncounted.items()]
    if unmeasured:
        notes.append("Hours = passes / passes a second; train one network to measure its speed.")
    return "\n".join([aligned(lines, left=2), *notes])


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--plan", required=True, metavar="FILE", help="the output of snakemake --dry-run --forceall --printshellcmds"
    )
    arguments = parser.parse_args()
    print(table(*rows(Path(arguments.plan).read_text(encoding="utf-8"))))


if __name__ == "__main__":
    with mistakes.in_one_line():
        main()
