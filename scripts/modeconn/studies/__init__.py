"""The tables of each study, and the measurements that they are made from. Does not import pandas.

A study is a module in this package, whose function `tabulate(measured)` makes tables (name -> frame) from files of
measurements (name -> paths), and an entry in STUDIES; `runs` has the tables that all studies share. To add a table, add
its rows in the module, its name here, and a caption, `workflow/report/<name>.rst`, if the report shows it.
"""

from collections.abc import Callable
from typing import NamedTuple

from modeconn.plan import NONE, RULES, Plan, unique


class Study(NamedTuple):
    """measured: name -> function of a plan: the files that tables are made from. tables: name -> what a row of it is.

    shown: tables that the report shows -> their heading there. needed: measurements without which there are no tables.
    """

    measured: dict[str, Callable[[Plan], list[str]]]
    tables: dict[str, str]
    shown: dict[str, str]
    needed: tuple[str, ...] = ()


def _all(outputs):
    """A function of a plan: the files of these outputs, of all rules that have them."""

    def of(plan):
        found = [(rule, output) for rule, about in RULES.items() for output in about.outputs if output in outputs]
        return [path for rule, output in found for path in plan.outputs(rule, output)]

    return of


def _pairs(rule, output):
    """A function of a plan: the files of one output of a rule in the alignment study."""

    def of(plan):
        return plan.only("alignment").outputs(rule, output)

    return of


def _permutations(plan):
    """Permutations of pairs, and those that they refine."""
    matched = [cell for cell in plan.of("alignment") if cell["alignment"] != NONE]
    found = [made.path for cell in matched for made in plan.permutation_of(cell)]
    found += [made.path for cell in matched if plan.is_refined(cell["alignment"]) for made in plan.start_of(cell)]
    return unique(found)


STUDIES = {
    "runs": Study(
        {"histories": _all({"history"}), "artifacts": _all({"networks", "permutation", "bends", "statistics"})},
        {"training": "an epoch", "environments": "an environment of artifacts"},
        {"environments": "Environments"},
    ),
    "alignment": Study(
        {
            "evaluations": _pairs("evaluate_curve", "points"),
            "signatures": _pairs("evaluate_signature", "signature"),
            "planes": _pairs("evaluate_plane", "points"),
            "marks": _pairs("evaluate_plane", "marks"),
            "activations": _pairs("evaluate_activations", "activations"),
            "scores": _pairs("refine", "scores"),
            "permutations": _permutations,
            "selections": _pairs("select_network", "rows"),
        },
        {
            "curves": "a point of a curve",
            "pairs": "a curve: averages and barriers",
            "summary": "a quantity of a curve: mean, std and n over pairs",
            "signatures": "a group of an alignment",
            "spectrum": "a wave number of a curve",
            "planes": "a point of a plane",
            "marks": "a network or point of a curve in a plane",
            "activations": "a group, t and endpoint",
            "candidates": "a candidate of a refinement",
            "permutations": "a group of two alignments",
            "best": "a network or ensemble and attack",
            "best_summary": "a quantity of those: mean, std and n over pairs",
        },
        {"summary": "Tables"},
        ("evaluations",),
    ),
    "averaging": Study(
        {
            "barriers": lambda plan: plan.outputs("evaluate_barriers", "points"),
            "averages": lambda plan: plan.outputs("evaluate_averages", "points"),
            "triangles": lambda plan: plan.outputs("evaluate_triangles", "points"),
            "boundaries": lambda plan: plan.outputs("evaluate_boundary", "points"),
            "units": lambda plan: plan.outputs("evaluate_boundary", "units"),
            "disagreements": lambda plan: plan.outputs("evaluate_disagreement", "points"),
            "norms": lambda plan: plan.outputs("evaluate_disagreement", "norms"),
            "iterates": lambda plan: plan.outputs("evaluate_iterates", "points"),
            "swa": lambda plan: plan.outputs("evaluate_iterates", "averages"),
        },
        {
            "barriers": "a pair of networks: its barriers",
            "barrier_summary": "a quantity of a network: mean, quartiles and n over pairs",
            "interpolations": "a point t of a network: quartiles over pairs",
            "topology": "a threshold of a network: the graph of pairs whose barrier is below it",
            "averages": "an average of several networks, or their ensemble",
            "triangles": "a point of a triangle between three networks",
            "boundaries": "a network or average of two, and a point in the plane",
            "units": "a unit of the first layer of one of two networks",
            "across": "a quantity of pairs within a recipe or of two recipes: mean, std and n",
            "disagreements": "a pair of networks: how often their answers differ",
            "norms": "a network: norms of its weights, and its units",
            "iterates": "two epochs of one run: their barriers",
            "iterate_averages": "an epoch of one run, or the average of it and those before it",
        },
        {"barrier_summary": "Tables", "across": "Tables"},
        ("barriers",),
    ),
    "simultaneous": Study(
        {
            "grids": lambda plan: plan.outputs("evaluate_grid", "points"),
            "permutations": lambda plan: plan.outputs("align_moments", "permutation"),
            "masks": lambda plan: plan.outputs("train_masked", "points"),
        },
        {
            "simultaneous": "a pair, permutation and moment: its barriers",
            "simultaneous_summary": "a quantity of a permutation and moment: mean, std and n over pairs",
            "fixed_points": "a group and two moments: what their permutations share",
            "masks": "a pair, level of pruning and mask: what its second network learns under it",
            "mask_summary": "a quantity of a level and mask: mean, std and n over pairs",
        },
        {"simultaneous_summary": "Tables", "mask_summary": "Tables"},
        ("grids",),
    ),
}
