"""The registry of figures, and which of them each study has. Does not import matplotlib: the workflow reads it to plan.

A figure is its module in this package, its entry in `FIGURES`, and its caption, `workflow/report/<name>.rst`.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from modeconn.configuration import epochs_of, shown_as, shown_recipes

ALL = "all"  # alignments over one another, in place of the name of one


class Pairs(NamedTuple):
    """What the figures need to know of one entry of the alignment study, by the names that tables and figures use."""

    alignments: list[str]
    curves: list[str]
    bent: list[str]  # curves that are trained
    matched: bool  # whether there is an alignment by matching
    refined: bool  # whether there is one by PAM
    attacked: bool
    selected: bool  # whether a best network is selected on curves
    measures: list[str]

    @property
    def aligned(self) -> list[str]:
        """The first alignment that permutes neurons, if there is one."""
        return [name for name in self.alignments if name != "none"][:1]

    @property
    def switch(self) -> list[str]:
        """The choices of a switch: all alignments together, the unaligned pairs, the aligned pairs."""
        return [ALL, "none", *self.aligned] if "none" in self.alignments else [ALL]

    @property
    def planes(self) -> list[str]:
        """Curves whose planes are drawn, and none: the plane of the alignment itself."""
        return [*self.bent, *(["none"] if self.matched else [])] if "planes" in self.measures else []

    @property
    def compared(self) -> list[str]:
        """Curves along which activations are compared with the endpoints'."""
        return self.curves if "activations" in self.measures else []


def pairs(config: dict, entry: dict) -> Pairs:
    """The `Pairs` of one entry of the alignment study of a complete config."""
    curves = entry.get("curves", list(config["curves"]))
    methods = [config["alignments"][name]["method"] for name in entry["alignments"] if name != "none"]
    return Pairs(
        alignments=[shown_as(config, "alignment", name) for name in entry["alignments"]],
        curves=[shown_as(config, "curve", name) for name in curves],
        bent=[shown_as(config, "curve", name) for name in curves if config["curves"][name]["kind"] != "linear"],
        matched=any(method != "pam" for method in methods),
        refined="pam" in methods,
        attacked=bool(entry["attack"]),
        selected=bool(entry["best"]),
        measures=entry["measures"],
    )


class Populations(NamedTuple):
    """What the figures need to know of one entry of the averaging study."""

    measures: list[str]
    splits: list[str]  # on which barriers are measured
    corrected: bool


def population(config: dict, entry: dict) -> Populations:
    """The `Populations` of one entry of the averaging study of a complete config."""
    about = config["barriers"]
    return Populations(entry["measures"], about["splits"], bool(about["corrections"]))


class Moments(NamedTuple):
    """What the figures need to know of one entry of the simultaneous study."""

    epochs: bool  # whether there is more than one
    levels: bool
    matched: bool  # whether there is an alignment
    splits: list[str]  # on which barriers are measured
    masked: bool  # whether networks are trained under masks


def moments(config: dict, entry: dict) -> Moments:
    """The `Moments` of one entry of the simultaneous study of a complete config."""
    several = any(len(epochs_of(entry, config["recipes"][recipe])) > 1 for recipe in entry["recipes"])
    matched = any(name != "none" for name in entry["alignments"])
    return Moments(several, len(entry["levels"]) > 1, matched, config["grid"]["splits"], bool(entry["masks"]))


SHOWN: dict[str, Callable[[dict, dict], Any]] = {
    "alignment": pairs,
    "averaging": population,
    "simultaneous": moments,
}


class Figure(NamedTuple):
    """A figure: its label in the report, the tables it is drawn from, and for which parts of a study it is drawn.

    tables: of `studies`. by: the names that distinguish several figures of an entry, in the order in which they stand
    in the file's name. parts: a function that maps `Pairs` of an entry to the values of `by`, one tuple for each
    figure: [()] is one figure, [] is none. study: the study whose entries have the figure. In studies other than
    alignment a figure is drawn for a data set and a recipe, and `parts` is called with what `SHOWN` makes of an entry.
    """

    label: str
    tables: list[str]
    by: list[str]
    parts: Callable[[Any], Iterable[tuple[str, ...]]]
    study: str = "alignment"


def _each(names):
    return [(name,) for name in names]


def _once(wanted):
    return [()] if wanted else []


def _measured(name):
    """One figure, if an entry asks for this measurement."""
    return lambda entry: _once(name in entry.measures)


def _by_split(name):
    """A figure for each split, if an entry asks for this measurement."""
    return lambda entry: _each(entry.splits if name in entry.measures else [])


SPLITS = [("test",), ("train",)]
FIGURES = {
    "curves": Figure(
        "along the curves",
        ["curves"],
        ["split", "alignment"],
        lambda study: [("train", ALL), *(("test", name) for name in study.switch)],
    ),
    "robustness": Figure(
        "clean and under attack",
        ["curves"],
        ["alignment"],
        lambda study: _each(study.switch if study.attacked else []),
    ),
    "best": Figure("the best network on the path", ["best"], [], lambda study: _once(study.selected)),
    "signatures": Figure("correlation by layer", ["signatures"], [], lambda study: _once(study.aligned)),
    "training": Figure("training", ["training"], [], lambda study: _once(True)),
    "spectrum": Figure("spectrum of the loss", ["spectrum"], [], lambda study: _once(True)),
    "planes": Figure("planes", ["planes", "marks"], ["curve"], lambda study: _each(study.planes)),
    "similarity": Figure(
        "similarity to the endpoints", ["activations"], ["curve"], lambda study: _each(study.compared)
    ),
    "layers": Figure("similarity by layer", ["activations"], ["curve"], lambda study: _each(study.compared)),
    "candidates": Figure("candidates of the refinement", ["candidates"], [], lambda study: _once(study.refined)),
    "permutations": Figure("permutations compared", ["permutations"], [], lambda study: _once(study.aligned)),
    "barriers": Figure(
        "barriers between all pairs", ["barriers"], ["split"], lambda entry: _each(entry.splits), "averaging"
    ),
    "interpolations": Figure(
        "between all pairs", ["interpolations"], ["split"], lambda entry: _each(entry.splits), "averaging"
    ),
    "topology": Figure(
        "connected networks", ["topology"], ["split"], lambda entry: _each(sorted(entry.splits)[:1]), "averaging"
    ),
    "matrices": Figure(
        "barriers as matrices", ["barriers"], ["split"], lambda entry: _each(sorted(entry.splits)[:1]), "averaging"
    ),
    "corrections": Figure(
        "barriers of corrected networks",
        ["barriers"],
        ["split"],
        lambda entry: _each(entry.splits if entry.corrected else []),
        "averaging",
    ),
    "boundaries": Figure("answers in the plane", ["boundaries"], [], _measured("boundaries"), "averaging"),
    "units": Figure("units of the first layer", ["units"], [], _measured("boundaries"), "averaging"),
    "dynamics": Figure(
        "pairs within and across recipes",
        ["barriers", "disagreements"],
        ["split"],
        _by_split("disagreement"),
        "averaging",
    ),
    "norms": Figure("sizes of the networks", ["norms"], [], _measured("disagreement"), "averaging"),
    "iterates": Figure(
        "iterates and their averages", ["iterate_averages", "iterates"], ["split"], _by_split("iterates"), "averaging"
    ),
    "averages": Figure(
        "averages of many",
        ["averages"],
        ["split"],
        lambda entry: SPLITS if "averages" in entry.measures else [],
        "averaging",
    ),
    "merging": Figure("merging over width", ["averages"], [], _measured("averages"), "averaging"),
    "triangles": Figure("triangles between three networks", ["triangles"], [], _measured("triangles"), "averaging"),
    "trajectories": Figure(
        "permutations at other epochs",
        ["simultaneous"],
        ["split"],
        lambda entry: _each(entry.splits if entry.epochs and entry.matched else []),
        "simultaneous",
    ),
    "checkpoints": Figure(
        "barriers over epochs",
        ["simultaneous"],
        ["split"],
        lambda entry: _each(entry.splits if entry.epochs else []),
        "simultaneous",
    ),
    "sparsity": Figure(
        "barriers over levels of pruning",
        ["simultaneous"],
        ["split"],
        lambda entry: _each(entry.splits if entry.levels else []),
        "simultaneous",
    ),
    "settling": Figure(
        "when permutations settle",
        ["fixed_points"],
        [],
        lambda entry: _once((entry.epochs or entry.levels) and entry.matched),
        "simultaneous",
    ),
    "masks": Figure(
        "accuracy under masks of other networks", ["masks"], [], lambda entry: _once(entry.masked), "simultaneous"
    ),
}


def of(config: dict) -> list[str]:
    """Every figure of a complete config, by its path without folder and ending: <dataset>-<network>-<recipe>/<name>."""
    found: dict[str, None] = {}
    for study, entry in ((study, entry) for study, entries in config["studies"].items() for entry in entries):
        shown = SHOWN[study](config, entry)
        for recipe in shown_recipes(entry) if "recipes" in entry else [entry["recipe"]]:
            studied = "-".join([entry["dataset"], entry.get("network", ALL), recipe])
            for name, figure in FIGURES.items():
                for part in figure.parts(shown) if figure.study == study else []:
                    found["-".join([f"{studied}/{name}", *part])] = None
    return list(found)


def parts_of(name: str, part: str) -> dict[str, str]:
    """The values of `by` of a figure `name`, from the rest of its file's name.

    parts_of("curves", "-test-all") -> {"split": "test", "alignment": "all"}.
    """
    return dict(zip(FIGURES[name].by, part.split("-")[1:]))
