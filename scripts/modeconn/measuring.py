"""Measure affine combinations of networks: along curves, on planes, averages.

The combinations are a sequence of `Look`. Each kind of measurement has its own module that makes them, so that editing
planes reruns measurements of planes and none of curves.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import torch

from modeconn import batchnorm, classification
from modeconn.ensembles import Ensemble
from modeconn.programs import Job


class Combination(NamedTuple):
    """A network as the sum of the rows `members` times `coefficients`, which sum to one."""

    members: Sequence[int]
    coefficients: Sequence[float]


class Look(NamedTuple):
    """A network, or an ensemble of several, that is measured at once: a row of a table for each view.

    place: the columns that identify it. points: indices of existing statistics that belong to its networks.
    """

    place: dict
    networks: Sequence[Combination]
    points: Sequence[int] = ()


class View(NamedTuple):
    """The images of a measurement: a split, clean or under an attack (its name, and its values or None)."""

    split: str
    attack: str = "none"
    values: dict | None = None


def combine(rows: torch.Tensor, networks: Sequence[Combination]) -> torch.Tensor:
    """(L, D): each of the L networks from the rows (K, D).

    Terms are added in their order, each product rounded first, so that the bits of a network do not depend on
    how many are combined at once. A network with the coefficients 1, 0, 0 is that row exactly.
    """
    longest = max(len(network.members) for network in networks)
    # Shorter combinations are padded with their first row, times zero.
    members = [[*n.members, *[n.members[0]] * (longest - len(n.members))] for n in networks]
    weights = [[*n.coefficients, *[0.0] * (longest - len(n.members))] for n in networks]
    index = torch.tensor(members, device=rows.device)
    shares = torch.tensor(weights, dtype=torch.float64, device=rows.device).to(rows.dtype)
    total = shares[:, :1] * rows[index[:, 0]]
    for term in range(1, longest):
        total += shares[:, term : term + 1] * rows[index[:, term]]
    return total


def measure(
    job: Job,
    population,
    settings: dict,
    rows: torch.Tensor,
    looks: Iterable[Look],
    views: Callable[[Look], Sequence[View]],
    *,
    what: str,
    total: int,
    statistics: Callable[[Sequence[Look], torch.Tensor], dict[str, torch.Tensor]] | None = None,
    together: int = 1,
    corrections: Mapping[str, Callable[[Sequence[Combination], torch.Tensor], torch.Tensor]] | None = None,
    ensembles: bool = False,
    keep: bool = False,
    measured: list[dict] | None = None,
) -> tuple[list[dict], dict[str, torch.Tensor]]:
    """Loss (mean cross-entropy, nats) and accuracy of every look on all of its views, and the statistics if kept.

    population: `populations.Population`, for its architecture and data. settings: {"batch", "recalibration"}.
    rows: (K, D) parameters that are combined. looks: `total` of them, in an order that is the same in every run; they
    may read `measured`, the rows so far. statistics: (looks, vectors (L, D)) -> buffers, name -> (L, ...), of the
    vectors; re-estimated for each network if not given. together: looks that are combined and measured at once, of one
    view list. ensembles: the networks of a look predict together, one look at a time. keep: whether the statistics are
    returned, name -> (total, ...).
    corrections: name -> function (L combinations, vectors (L, D)) -> vectors, which are measured too; rows then have
    a column `correction`. Ensembles are not corrected.
    The work is resumed after the last look that `job.state` has saved.
    Returns (rows of a table as dicts: the job's names, the look's place, split, attack, loss, accuracy; statistics).
    """
    functional, dataset, batch = population.functional, population.dataset, settings["batch"]

    def recalibrated(looks, vectors):
        return batchnorm.recalibrated(functional, vectors, dataset, settings["recalibration"], job.values)

    statistics = statistics or recalibrated
    kept: dict[str, torch.Tensor] = {}
    measured = [] if measured is None else measured
    done = 0
    if (saved := job.state.load(rows.device)) is not None:
        kept, facts = saved
        measured.extend(facts["rows"])
        done = facts["looks"]
    for chunk in _chunks(job.points(looks, total, what, done), together):
        combinations = [network for look in chunk for network in look.networks]
        vectors = combine(rows, combinations)
        buffers = statistics(chunk, vectors)
        if keep:
            kept = {name: torch.cat([kept[name], b]) if done else b for name, b in buffers.items()}
        model, networks, state = functional, vectors, buffers
        if ensembles:
            model, networks = Ensemble(functional), vectors[None]
            state = {name: buffer[None] for name, buffer in buffers.items()}
        corrected = {"none": networks}
        if corrections and len(combinations) == len(chunk):  # no ensembles
            for name, correct in corrections.items():
                changed = correct(combinations, vectors)
                corrected[name] = changed[None] if ensembles else changed
        found = []
        for name, parameters in corrected.items():
            for view in views(chunk[0]):
                images, labels = dataset.split(view.split)
                numbers = classification.evaluate(model, parameters, state, images, labels, batch, view.values)
                found.append(({"correction": name} if corrections else {}, view, numbers))
        for lane, look in enumerate(chunk):
            for correction, view, (loss, accuracy) in found:
                place = {**job.values["names"], **look.place, **correction, "split": view.split, "attack": view.attack}
                measured.append({**place, "loss": loss[lane].item(), "accuracy": accuracy[lane].item()})
        done += len(chunk)
        job.state.offer(lambda: (kept, {"rows": measured, "looks": done}))  # noqa: B023, it is called at once
    return measured, kept


def _chunks(values: Iterable[Look], size: int) -> Iterator[list[Look]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk
