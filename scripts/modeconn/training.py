"""Train networks by a recipe, from their initialization or from a kept epoch on."""

from collections.abc import Callable, Collection, Mapping

import torch

from modeconn import classification, datasets, optimization


def fit(
    job,
    dataset: datasets.Dataset,
    functional,
    vectors: torch.Tensor,
    buffers: dict[str, torch.Tensor],
    what: str,
    *,
    lanes: Mapping[str, int],
    first: int = 0,
    keep: Collection[int] = (),
    after_step: Callable[[float], None] | None = None,
) -> tuple[list[dict], dict[int, tuple[torch.Tensor, dict[str, torch.Tensor]]]]:
    """Train networks in place by the recipe of `job` to its last epoch; returns the history and the kept epochs.

    vectors: (L, D), a leaf with gradients; buffers: name -> (L, ...). lanes: name of each network in messages -> the
    seed of its batches. first: number of epochs that the schedule and the order of images count as done, for rewound
    networks (Frankle et al. 2020). keep: epochs -> their (vectors, buffers); 0 is before the first step. after_step: as
    of `optimization.minimize`. The training resumes from the checkpoint `job.state`, with the epochs kept so far.
    """
    recipe, seeds = job.values["recipe"], list(lanes.values())
    kept = {epoch: (vectors.detach().clone(), {name: b.clone() for name, b in buffers.items()}) for epoch in keep}
    saved = {f"kept {epoch}": of_epoch for epoch, (of_epoch, _) in kept.items()}
    saved |= {f"kept {epoch} {name}": b for epoch, (_, of_epoch) in kept.items() for name, b in of_epoch.items()}
    progress = job.progress(recipe["epochs"], what)

    @torch.no_grad()
    def report(row):
        if row["epoch"] in kept:
            of_epoch, of_buffers = kept[row["epoch"]]
            of_epoch.copy_(vectors)
            for name, buffer in of_buffers.items():
                buffer.copy_(buffers[name])
        progress(row)

    history = optimization.minimize(
        classification.objective_of(functional, vectors, buffers, recipe["attack"]),
        [vectors],
        lambda epoch, step: datasets.batches(dataset, seeds, epoch, step, recipe["batch"], recipe["augmentation"]),
        recipe,
        lanes=list(lanes),
        report=report,
        state=job.state,
        buffers=buffers | saved,
        after_step=after_step,
        steps_per_epoch=datasets.steps_per_epoch(dataset, recipe["batch"]),
        first=first,
    )
    return history, kept
