"""Schedules of the learning rate, as factors on the optimizer's, and of the momentum, for each step of a training."""

import bisect
import math

NAMES = ("constant", "cosine", "halving", "plateau", "linear", "milestones", "one_cycle")


def learning_rate_factor(training: dict, epoch: int, step: int = 0, steps: int = 1) -> float:
    """Factor on the learning rate in a step (from 0) of the `steps` of an epoch (from 0).

    training: {"epochs", "schedule"}, and the schedule's own keys:
    constant: 1. cosine: half a cosine, from 1 towards 0. halving: 0.5^(epoch // 20) 0.9996^epoch
    (endpoints and curves of Tatro et al. 2020). plateau: 1 for the first half, then linear to 0.01
    at nine tenths (Garipov et al. 2018; the robust study of Tatro et al.). linear: from 1 towards 0. milestones: one
    tenth from each epoch of "milestones" on (Sharma et al. 2024). one_cycle: step by step half a cosine from 1/25 to 1
    in the first three tenths of all steps, and another from there to 1/250,000 (Smith and Topin 2019, as in torch).

    With "warmup" epochs (default 0, may be a fraction) the factor first rises linearly from 0 to 1 over their steps;
    cosine and linear then fall over the remaining epochs.
    Raises ValueError for an unknown schedule.
    """
    schedule, epochs, warmup = training["schedule"], training["epochs"], training.get("warmup", 0)
    if warmup and epoch * steps + step < warmup * steps:
        return (epoch * steps + step + 1) / (warmup * steps)
    progress = max(0.0, epoch - warmup) / (epochs - warmup)
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "halving":
        return 0.5 ** (epoch // 20) * 0.9996**epoch
    if schedule == "plateau":
        return min(1.0, max(0.01, 1 - 0.99 * (epoch / epochs - 0.5) / 0.4))
    if schedule == "linear":
        return 1 - progress
    if schedule == "milestones":
        return 0.1 ** bisect.bisect_right(training["milestones"], epoch)
    if schedule == "one_cycle":
        return _one_cycle(epoch * steps + step, epochs * steps, 1 / 25, 1.0, 1 / 250_000)
    raise ValueError(f"schedule {schedule}: expected {', '.join(NAMES)}")


def momentum(training: dict, epoch: int, step: int = 0, steps: int = 1) -> float:
    """The optimizer's momentum in a step; in one_cycle it runs against the learning rate, from 0.95 to 0.85 and back.

    Zero stays zero.
    """
    own = training["optimizer"].get("momentum", 0)
    if training["schedule"] != "one_cycle" or own == 0:
        return own
    return _one_cycle(epoch * steps + step, training["epochs"] * steps, 0.95, 0.85, 0.95)


def _one_cycle(step, total, first, peak, last):
    """Half a cosine from `first` to `peak` over three tenths of the steps, and another one to `last`."""
    top = 0.3 * total - 1
    if step <= top:
        start, end, share = first, peak, step / top if top else 1
    else:
        start, end, share = peak, last, (step - top) / (total - 1 - top)
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
