"""Learning rates and momenta: worked out by hand, and equal to those of torch's schedulers."""

import pytest
import torch

from modeconn import schedules


@pytest.mark.parametrize(
    ("schedule", "epochs", "values"),
    [
        ("constant", 10, {0: 1, 9: 1}),
        ("cosine", 8, {0: 1, 2: (1 + 0.5**0.5) / 2, 4: 0.5, 6: (1 - 0.5**0.5) / 2}),
        ("halving", 250, {0: 1, 1: 0.9996, 19: 0.9996**19, 20: 0.5 * 0.9996**20, 40: 0.25 * 0.9996**40}),
        ("plateau", 100, {0: 1, 49: 1, 50: 1, 70: 0.505, 80: 0.2575, 90: 0.01, 99: 0.01}),
        ("linear", 4, {0: 1, 1: 0.75, 3: 0.25}),
    ],
)
def test_learning_rates_follow_their_schedules(schedule, epochs, values):
    training = {"schedule": schedule, "epochs": epochs}
    found = {epoch: schedules.learning_rate_factor(training, epoch) for epoch in values}
    assert found == pytest.approx(values)
    # Within an epoch they stay.
    assert {epoch: schedules.learning_rate_factor(training, epoch, 2, 5) for epoch in values} == found


def test_milestones_divide_by_ten_from_their_epoch_on():
    training = {"schedule": "milestones", "milestones": [80, 120], "epochs": 160}
    found = [schedules.learning_rate_factor(training, epoch) for epoch in (0, 79, 80, 119, 120, 159)]
    assert found == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_warm_up_rises_step_by_step_and_the_rest_follows_the_schedule():
    training = {"schedule": "linear", "epochs": 5, "warmup": 1}
    steps = [schedules.learning_rate_factor(training, epoch, step, 4) for epoch in range(5) for step in range(4)]
    assert steps == pytest.approx([0.25, 0.5, 0.75, 1] + [1] * 4 + [0.75] * 4 + [0.5] * 4 + [0.25] * 4)
    # A fraction of an epoch: 3 of its 6 steps.
    half = {"schedule": "constant", "epochs": 2, "warmup": 0.5}
    found = [schedules.learning_rate_factor(half, 0, step, 6) for step in range(6)]
    assert found == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])


@pytest.mark.parametrize(("epochs", "steps"), [(10, 5), (11, 3), (1, 3), (5, 1)])
def test_one_cycle_is_that_of_torch(epochs, steps):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=epochs * steps)
    training = {"schedule": "one_cycle", "epochs": epochs, "optimizer": {"momentum": 0.9}}
    for epoch in range(epochs):
        for step in range(steps):
            group = optimizer.param_groups[0]
            assert schedules.learning_rate_factor(training, epoch, step, steps) == pytest.approx(group["lr"])
            assert schedules.momentum(training, epoch, step, steps) == pytest.approx(group["betas"][0])
            optimizer.step()
            if epoch * steps + step + 1 < epochs * steps:
                theirs.step()


def test_momentum_is_the_optimizers_own_otherwise_and_none_stays_none():
    assert schedules.momentum({"schedule": "cosine", "epochs": 3, "optimizer": {"momentum": 0.8}}, 1) == 0.8
    assert schedules.momentum({"schedule": "one_cycle", "epochs": 3, "optimizer": {"momentum": 0}}, 1) == 0
    assert schedules.momentum({"schedule": "one_cycle", "epochs": 3, "optimizer": {}}, 1) == 0


def test_an_unknown_schedule_is_refused(one_line):
    with one_line(ValueError, "step", "constant, cosine, halving"):
        schedules.learning_rate_factor({"schedule": "step", "epochs": 10}, 0)
