"""Estimate what a config costs: jobs and image passes by network and data set, and hours where speed was measured.

All jobs of the config are counted, done or not. A pass is one image forward and backward through one network, as in
training; a forward pass alone counts as a third, a step of an attack as one. The cost of AutoAttack is not known
beforehand, so jobs under it are not counted. Hours are passes divided by passes a second, which finished trainings of
the same network on the same data have written to their cost files. The number of images of a data set is read from the
prepared data or from the files at the config's `path`.
"""

import argparse
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

from modeconn import configuration, cost, errors, own_data, provenance
from modeconn.plan import NONE, Made, Plan
from modeconn.text import aligned

FORWARD = Fraction(1, 3)
# Number of images that test_fraction splits; of points in the plane it is `count`.
TOTALS = {"digits": 1797, "mnist_5k": 5000}
# Number of images of the training and the test split.
SIZES = {
    "cifar10": (50_000, 10_000),
    "cifar100": (50_000, 10_000),
    "mnist": (60_000, 10_000),
    "fashion_mnist": (60_000, 10_000),
    "tiny_imagenet": (100_000, 10_000),
}


def sizes(dataset, made=None):
    """(training, test) images of a data set, from its values, or from the prepared file `made` where that exists.

    Raises ValueError, one line, where the config has a path and the files there are not as they have to be.
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


def passes(rule, job, dataset, sizes):
    """Passes of one job from its rule, its values and those of its data set; None where they cannot be counted.

    sizes: (training, test) images.
    """
    train, test = sizes
    attack = job.get("recipe", job).get("attack")
    under = [*job.get("attacks", {}).values(), *job.get("tested", {}).values()]
    if any((one or {}).get("method") == "autoattack" for one in (attack, *under)):
        return None
    if rule == "train":
        return len(job["seeds"]) * job["recipe"]["epochs"] * train * (1 + _crafted(attack))
    if rule in ("prune", "train_masked"):
        epochs = job["recipe"]["epochs"] - job["recipe"]["pruning"]["rewind"]
        return len(job["seeds" if rule == "prune" else "masks"]) * epochs * train * (1 + _crafted(attack))
    if rule == "fit_curve":
        return job["curve"]["epochs"] * train * (1 + _crafted(attack))
    alignment = job.get("alignment")
    matched = dataset["alignment_fraction"] * train
    if rule in ("align", "align_moments"):
        # Matching by weights takes no images.
        if alignment["method"] != "activation":
            return 0
        moments = sum(len(job["moments"].get(key, [])) for key in ("at", "stacked")) if rule == "align_moments" else 1
        return moments * 2 * (len(job["members"]) - 1) * matched * (FORWARD + _crafted(alignment.get("attack")))
    if rule == "evaluate_signature":
        return 2 * (FORWARD * (matched + test) + matched * _crafted(alignment.get("attack")))
    if rule == "refine":
        candidates = alignment["samples"] + 2
        return train * (alignment["epochs"] * (1 + _crafted(attack)) + candidates * (FORWARD + _crafted(attack)))
    evaluation = next((job[kind] for kind in configuration.MEASURES if kind in job), None)
    # Only batch normalization has statistics to estimate; networks whose answers in the plane are measured have none.
    network = job.get("network", {})
    estimated = network.get("norm", "batch") == "batch" and not network.get("fused") and rule != "evaluate_boundary"
    recalibrated = 0
    if evaluation and estimated:
        recalibrated = (FORWARD + _crafted(attack)) * (evaluation["recalibration"]["images"] or train)
    if rule == "evaluate_curve":
        attacked = sum(map(_measured, job.get("attacks", {}).values()))
        return evaluation["points"] * (recalibrated + FORWARD * (train + test) + test * attacked)
    if rule == "evaluate_plane":
        return evaluation["points"] ** 2 * (recalibrated + FORWARD * test)
    if rule == "evaluate_activations":  # at each point with both ends, at two sites, for two networks each
        return evaluation["points"] * (recalibrated + 8 * FORWARD * matched)
    # A correction measures the network again, and uses about as many training images as estimating statistics does.
    corrected = 1 + len((evaluation or {}).get("corrections", []))
    if rule == "evaluate_averages":
        members, networks = len(job["members"]), 0
        for size in (size for size in evaluation["sizes"] if size <= members):
            choices = members if size == 1 else 1 if size == members else evaluation["draws"]
            # The average, and each member of the ensemble.
            networks += choices * (corrected + (size if size > 1 else 0))
        return networks * (recalibrated + FORWARD * (train + test))
    if rule == "evaluate_triangles":
        points = evaluation["points"]
        return len(job["members"]) // 3 * points * (points + 1) // 2 * (recalibrated + FORWARD * test)
    if rule == "evaluate_boundary":
        return 3 * FORWARD * evaluation["points"] ** 2
    members = len(job.get("members", []))
    images = sum({"train": train, "test": test}[split] for split in (evaluation or {}).get("splits", []))
    if rule == "evaluate_barriers":
        return _looks(members, evaluation["points"]) * corrected * (recalibrated + FORWARD * images)
    if rule == "evaluate_disagreement":
        return members * (recalibrated + FORWARD * images)
    if rule == "evaluate_iterates":  # and an average a moment but the first
        moments = len(job["moments"]["at"])
        return members * (_looks(moments, evaluation["points"]) + moments - 1) * (recalibrated + FORWARD * images)
    if rule == "evaluate_grid":
        moments = len(job["moments"]["at"])
        permutations = moments + ("stacked" in job["moments"])
        cells = moments * permutations if job["moments"]["along"] == "epochs" else 2 * moments - 1
        cells = cells if job["names"]["alignment"] != NONE else moments
        return (2 * moments + cells * (evaluation["points"] - 2)) * (recalibrated + FORWARD * images)
    if rule == "select_network":
        attacks, selection = job["tested"], job["selection"]
        selecting = sum(_measured(attacks[name]) for name in {"none", selection})
        # Both ends, the best network, the ensemble of both ends and that along the curve: an image goes through each
        # member once.
        members = 1 + 1 + 1 + 2 + job["ensemble"]
        testing = sum(_measured(attack) for attack in attacks.values())
        return evaluation["points"] * dataset["hold_out"] * selecting + members * test * testing
    return None


def _looks(networks, points):
    """Networks that are measured to know the lines between all pairs of some, at so many points, ends included."""
    return networks + networks * (networks - 1) // 2 * (points - 2)


def _crafted(attack):
    """Passes that an attack on one image takes, 0 without one; every restart is another attempt."""
    if attack is None:
        return 0
    restarts = attack.get("restarts", 1)
    return restarts * attack["steps"] + (restarts * FORWARD if restarts > 1 else 0)


def _measured(attack):
    """Passes that measuring one image takes, clean or after each attempt of an attack."""
    return FORWARD if attack is None else attack.get("restarts", 1) * (attack["steps"] + FORWARD)


def speed(trainings):
    """(passes a second, device) of finished trainings, (path, job) each; None where there is none."""
    measured = [(cost.read(path), 1 + _crafted(job["recipe"]["attack"])) for path, job in trainings]
    # A resumed training counts the images before its stop, but not their seconds.
    whole = [(row, per_image) for row, per_image in measured if row and not row["resumed"]]
    found = [(row["images_per_second"] * per_image, row["device"]) for row, per_image in whole]
    return (sum(rate for rate, _ in found) / len(found), found[0][1]) if found else None


def rows(planned):
    """Lines of the table, one for each network and data set, and the number of jobs, by rule, not counted."""
    jobs = [(job, planned.job(job.rule, dict(job.wildcards))) for job in planned.jobs]
    datasets = {
        dict(job.wildcards)["dataset"]: (values["dataset"], sizes(values["dataset"], Made(job, "data").path))
        for job, values in jobs
        if job.rule == "prepare_data"
    }
    found = defaultdict(lambda: [0, 0, []])
    uncounted = defaultdict(int)
    for job, values in jobs:
        if job.rule == "prepare_data":
            continue
        count = passes(job.rule, values, *datasets[dict(job.wildcards)["dataset"]])
        if count is None:
            uncounted[job.rule] += 1
            continue
        entry = found[values["names"]["network"], values["names"]["dataset"]]
        entry[0] += 1
        entry[1] += count
        if job.rule == "train":
            entry[2].append((Path(Made(job, "networks").path), values))
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
    parser.add_argument("--config", required=True, metavar="YAML", help="what would be run")
    arguments = parser.parse_args()
    print(table(*rows(Plan(configuration.completed(arguments.config), configuration.schema()))))


if __name__ == "__main__":
    with errors.in_one_line():
        main()
