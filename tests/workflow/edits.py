"""Edits of source and config, and exactly the computing jobs that run again after each, of the tiny config.

The plan is asked about all of them, Snakemake about some.
"""

ROOM = "scripts/modeconn/"
BESIDES = {"evaluate_plane": 3, "evaluate_activations": 2}
MEASURED = {"evaluate_curve": 14, "select_network": 4}
CURVES = {"fit_curve": 8} | MEASURED | BESIDES
POPULATIONS = {"evaluate_barriers": 2, "evaluate_averages": 2}
MOMENTS = {"align_moments": 2, "evaluate_grid": 2}  # along training, and along pruning
SPARSE = {"prune": 1, "train_masked": 1}
ALL = {"prepare_data": 1, "train": 5, "align": 6, "refine": 2, "evaluate_signature": 6} | CURVES | POPULATIONS
ALL |= MOMENTS | SPARSE
SOURCE_EDITS = {
    "a comment in the library": (
        ROOM + "curves.py",
        "KINDS = (",
        "# A comment.\nKINDS = (",
        {},
    ),
    "a docstring in the library": (
        ROOM + "attacks.py",
        '"""Adversarial examples."""',
        '"""Adversarial examples, that is all."""',
        {},
    ),
    "a line of progress": (ROOM + "programs.py", "accuracy {accuracy:.2%}", "accuracy {accuracy:.1%}", {}),
    "what a cost file holds": (ROOM + "cost.py", "time.process_time(), 2)", "time.process_time(), 1)", {}),
    "a message": (ROOM + "errors.py", "free some space", "make some room", {}),
    "where the lock of a GPU lies": (ROOM + "devices.py", "modeconn-gpus", "modeconn-gpu-locks", {}),
    "what a resumed job says": (ROOM + "resume.py", "starting anew", "beginning anew", {}),
    "checks of what is read": (ROOM + "inputs.py", "give what belongs to it", "give what belongs together", {}),
    "how manifests are written": (ROOM + "manifests.py", "indent=1", "indent=2", {}),
    "how files are written": (ROOM + "files.py", 'prefix=f".{path.name}."', 'prefix=f".new-{path.name}."', {}),
    "how a fingerprint is checked": (ROOM + "fingerprint.py", "run again", "run it again", {}),
    "progress of reading data": (ROOM + "datasets/progress.py", " of {total:,} ", "/{total:,} ", {}),
    "the tolerance of the proof": (
        ROOM + "permutation/verdict.py",
        "LARGEST_CHANGE = 1e-7",
        "LARGEST_CHANGE = 1e-6",
        {},
    ),
    "how long Snakemake has to end": (ROOM + "stopping.py", "GRACE = 20", "GRACE = 30", {}),
    "what pins a group of neurons: the alignments and what follows": (
        ROOM + "permutation/proof.py",
        "LEAST_REACTION = 1e-4",
        "LEAST_REACTION = 1e-5",
        {"align": 6, "refine": 2, "evaluate_signature": 6, "fit_curve": 6, "evaluate_curve": 10, "select_network": 2}
        | {"evaluate_plane": 2, "evaluate_activations": 1, "evaluate_barriers": 1, "evaluate_averages": 1}
        | {**MOMENTS, "train_masked": 1},
    ),
    "threads and determinism, by which all compute": (
        ROOM + "bits.py",
        'job["threads"]',
        'job["threads"] + 0',
        ALL,
    ),
    "the attack: standard networks and their curves stay": (
        ROOM + "attacks.py",
        "step * gradient.sign()",
        "1.5 * step * gradient.sign()",
        {"train": 2, "align": 1, "evaluate_signature": 1, "fit_curve": 2, "evaluate_curve": 4, "select_network": 4},
    ),
    "one matching method: the other alignments stay": (
        ROOM + "matching/weight.py",
        "max_sweeps: int = 100",
        "max_sweeps: int = 99",
        {"align": 3, "evaluate_signature": 1, "fit_curve": 1, "evaluate_curve": 2}
        | {"evaluate_barriers": 1, "evaluate_averages": 1}
        | {**MOMENTS, "train_masked": 1},
    ),
    "the correlations: what is matched by them, and all comparisons of activations": (
        ROOM + "matching/activation.py",
        "EPSILON = 1e-5",
        "EPSILON = 1e-6",
        {"align": 2, "refine": 1, "evaluate_signature": 6, "fit_curve": 3, "evaluate_curve": 5, "select_network": 2}
        | {"evaluate_plane": 2, "evaluate_activations": 2},
    ),
    "frames of many networks, which nobody uses here": (
        ROOM + "matching/frames.py",
        "PATIENCE = 20",
        "PATIENCE = 10",
        {},
    ),
    "triangles between networks, which nobody measures here": (
        ROOM + "triangles.py",
        "second / steps, third / steps",
        "third / steps, second / steps",
        {},
    ),
    "corrections of averaged networks, which nobody uses here": (
        ROOM + "corrections.py",
        "STEPS = 30",
        "STEPS = 20",
        {},
    ),
    "refinement: only PAM and what follows": (
        ROOM + "refinement.py",
        "LEAST_ENTRY = 5e-4",
        "LEAST_ENTRY = 4e-4",
        {"refine": 2, "evaluate_signature": 2, "fit_curve": 2, "evaluate_curve": 2},
    ),
    "planes": (
        ROOM + "planes.py",
        "> 1e-6 *",
        "> 1e-5 *",
        {"evaluate_plane": 3},
    ),
    "similarity": (
        ROOM + "similarity.py",
        '("post", "pre")',
        '("pre", "post")',
        {"evaluate_activations": 2},
    ),
    "another network family": (
        ROOM + "networks/resnet.py",
        'mode="fan_out"',
        'mode="fan_in"',
        {},
    ),
    "the source of another data set": (
        ROOM + "datasets/mnist.py",
        "dataset.data[:, None]",
        "dataset.data[:, None, :]",
        {},
    ),
    "downloads, where nothing is downloaded": (
        ROOM + "datasets/downloads.py",
        "TIMEOUT = 30",
        "TIMEOUT = 60",
        {},
    ),
    "the source of the data set": (
        ROOM + "datasets/digits.py",
        'mode="bilinear"',
        'mode="bicubic"',
        ALL,
    ),
    "the lines between all pairs": (
        ROOM + "lines.py",
        "[1:-1].tolist()",
        "[1:-1].flip(0).tolist()",
        {"evaluate_barriers": 2},
    ),
    "which averages are looked at": (
        ROOM + "averages.py",
        "[1 / size] * size",
        "[1.0 / size] * size",
        {"evaluate_averages": 2},
    ),
    "the loop that measures: nothing is trained anew": (
        ROOM + "measuring.py",
        "total = shares[:, :1] * rows[index[:, 0]]",
        "total = rows[index[:, 0]] * shares[:, :1]",
        MEASURED | BESIDES | POPULATIONS | {"evaluate_grid": 2},
    ),
    "how sparse networks are trained: what is measured along training stays": (
        ROOM + "retraining.py",
        'recipe["batch"]',
        '2 * recipe["batch"]',
        SPARSE | {"align_moments": 1, "evaluate_grid": 1},
    ),
    "how correlations are tabled: only the tables' rows": (
        ROOM + "signatures.py",
        '"attacked" if',
        '"under attack" if',
        {"evaluate_signature": 6},
    ),
    "the command line of one program": (
        "scripts/evaluate_plane.py",
        "CURVE_POINTS = 65",
        "CURVE_POINTS = 33",
        {"evaluate_plane": 3},
    ),
    "the augmentation, which nobody uses here": (
        ROOM + "datasets/augmentation.py",
        "0.587",
        "0.588",
        {},
    ),
    "the curves": (
        ROOM + "curves.py",
        "0.5 * curve",
        "0.25 * curve",
        {"refine": 2, "evaluate_signature": 2} | CURVES,
    ),
    "recalibration: nothing is trained anew": (
        ROOM + "batchnorm.py",
        "seen = 0",
        "seen = 0.0",
        MEASURED | BESIDES | POPULATIONS | {"evaluate_grid": 2},
    ),
}


def one_more_seed(config):
    config["studies"]["alignment"][0]["pairs"].append([1, 3])


def swapped(config):
    config["attacks"]["pgd"].update(epsilon=0.01, step=0.03)


def reordered(config):
    for section in ("recipes", "alignments", "curves"):
        config[section] = dict(reversed(config[section].items()))
    config["recipes"]["robust"] = dict(reversed(config["recipes"]["robust"].items()))


CONFIG_EDITS = {
    "the learning rate of one curve": (
        lambda c: c["curves"]["bezier"].update(optimizer={"learning_rate": 0.02}),
        {"fit_curve": 8, "evaluate_curve": 8, "select_network": 2} | {"evaluate_plane": 2, "evaluate_activations": 2},
    ),
    "steps of the attack": (
        lambda c: c["attacks"]["pgd"].update(steps=3),
        {"train": 2, "align": 1, "evaluate_signature": 1, "fit_curve": 2, "evaluate_curve": 4, "select_network": 4},
    ),
    "two parameters swapped": (
        swapped,
        {"train": 2, "align": 1, "evaluate_signature": 1, "fit_curve": 2, "evaluate_curve": 4, "select_network": 4},
    ),
    "one more seed: only the new pair": (
        one_more_seed,
        {"train": 1, "align": 3, "evaluate_signature": 3, "fit_curve": 4, "evaluate_curve": 8},
    ),
    "one more alignment": (
        lambda c: (
            c["alignments"].update(again={"method": "random", "seed": 1}),
            c["studies"]["alignment"][1]["alignments"].append("again"),
        ),
        {"align": 1, "evaluate_signature": 1, "fit_curve": 1, "evaluate_curve": 2, "select_network": 2},
    ),
    "evaluation points": (
        lambda c: c["evaluation"].update(points=4),
        {"evaluate_curve": 14, "select_network": 4},
    ),
    "points of the planes": (
        lambda c: c["plane"].update(points=4),
        {"evaluate_plane": 3},
    ),
    "points of the activations": (
        lambda c: c["activations"].update(points=4),
        {"evaluate_activations": 2},
    ),
    "recalibration: nothing is trained anew, but all measured": (
        lambda c: c["evaluation"].update(recalibration={"batch": 256}),
        MEASURED | BESIDES | POPULATIONS | {"evaluate_grid": 2},
    ),
    "samples of a refinement": (
        lambda c: c["alignments"]["pam"].update(samples=3),
        {"refine": 1, "evaluate_signature": 1, "fit_curve": 1, "evaluate_curve": 1},
    ),
    "sizes of the averages": (lambda c: c["averages"].update(sizes=[1, 3]), {"evaluate_averages": 2}),
    "points of the barriers": (lambda c: c["barriers"].update(points=5), {"evaluate_barriers": 2}),
    "one more network of a population: its block, and what it is compared in": (
        lambda c: c["studies"]["averaging"][0].update(seeds=4),
        {"train": 1, "align": 1} | POPULATIONS,
    ),
    "one more level of pruning: it, its masks, and what is measured along pruning": (
        lambda c: c["studies"]["simultaneous"][0].update(levels=[0, 1, 2]),
        SPARSE | {"align_moments": 1, "evaluate_grid": 1},
    ),
    "another attack on a curve: it alone is measured again": (
        lambda c: c["studies"]["alignment"].append(
            {
                **c["studies"]["alignment"][1],
                "alignments": ["none"],
                "curves": ["linear"],
                "attack": "strong",
                "best": None,
            }
        ),
        {"evaluate_curve": 1, "select_network": 1},
    ),
    "the folder of downloads": (
        lambda c: c.update(downloads="else where"),
        {},
    ),
    "a default written out": (
        lambda c: c["recipes"]["standard"].update(batch=128, schedule="cosine"),
        {},
    ),
    "the order of keys": (reordered, {}),
}
