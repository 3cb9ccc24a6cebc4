"""The training loop: schedules and steps worked by hand, lanes that do not depend on each other, runs that repeat."""

import signal

import pytest
import torch

from modeconn import artifacts, classification, datasets, optimization, resume, schedules
from modeconn.functional import Functional

OPTIMIZER = {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
PLAIN = {"learning_rate": 0.1, "momentum": 0, "nesterov": False, "weight_decay": 0}
ADAMW = {"method": "adamw", "learning_rate": 0.01, "momentum": 0.9, "beta2": 0.99, "epsilon": 1e-8, "weight_decay": 0.1}
ATTACK = {"epsilon": 0.1, "step": 0.05, "steps": 2, "random_start": True}


class Forgetful:
    """A state that keeps nothing."""

    def load(self):
        return None

    def offer(self, snapshot):
        pass


def labelled(*sizes, lanes=1):
    """epoch_batches of batches without images, of these sizes."""
    batches = [(None, torch.zeros(lanes, size, dtype=torch.long), None) for size in sizes]
    return lambda epoch, first: batches[first:]


def minimize(objective, variable, batches, *, epochs=1, schedule="constant", optimizer=PLAIN, **more):
    training = {"epochs": epochs, "schedule": schedule, "optimizer": optimizer}
    settings = {"lanes": ["seed 7", "seed 8"], "report": lambda row: None, "state": Forgetful(), **more}
    return optimization.minimize(objective, [variable], batches, training, **settings)


def test_steps_are_those_of_nesterovs_momentum():
    target = torch.tensor([[3.0, -1.0]], dtype=torch.float64)
    start = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    variable = start.clone().requires_grad_(True)

    def objective(batch):
        losses = 0.5 * (variable - target).square().sum(1)
        return losses, losses.detach(), torch.zeros(1)

    minimize(objective, variable, labelled(4, 4, 4), optimizer={**OPTIMIZER, "weight_decay": 0.01})
    point, velocity = start, torch.zeros_like(start)
    for _ in range(3):
        gradient = point - target + 0.01 * point
        velocity = 0.9 * velocity + gradient
        point = point - 0.1 * (gradient + 0.9 * velocity)
    torch.testing.assert_close(variable.detach(), point)


def slope(variable):
    """An objective whose gradient is one, so that every step is the learning rate."""

    def objective(batch):
        losses = variable.sum(1)
        return losses, losses.detach(), torch.zeros(len(variable))

    return objective


def test_each_epoch_steps_by_its_own_learning_rate():
    variable = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    positions = []
    history = minimize(
        slope(variable),
        variable,
        labelled(4, 4),
        epochs=4,
        schedule="cosine",
        report=lambda row: positions.append(variable.item()),
    )
    rates = [0.1 * factor for factor in (1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2)]
    assert [row["learning_rate"] for row in history] == pytest.approx(rates)
    assert positions == pytest.approx([-2 * sum(rates[: epoch + 1]) for epoch in range(4)])


def test_what_is_done_after_each_step_sees_the_learning_rate_and_changes_the_variable():
    variable = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    rates = []

    def after_step(rate):
        rates.append(rate)
        variable.data *= 0.5

    minimize(slope(variable), variable, labelled(4, 4), epochs=2, schedule="cosine", after_step=after_step)
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05])
    expected = 0
    for rate in rates:
        expected = 0.5 * (expected - rate)
    assert variable.item() == pytest.approx(expected)


def test_nearness_is_the_proximal_step_of_the_squared_distance():
    start = torch.tensor([[3.0, -1.0]], dtype=torch.float64)
    variable = start.clone().requires_grad_(True)
    approach = optimization.nearness([variable], nu=5)
    moved = torch.tensor([[7.0, 2.0]], dtype=torch.float64)
    variable.data.copy_(moved)
    approach(0.2)
    # The minimum of |x - moved|^2 / (2 rate) + |x - start|^2 / (2 nu): its gradient is zero.
    gradient = (variable - moved) / 0.2 + (variable - start) / 5
    torch.testing.assert_close(gradient, torch.zeros(1, 2, dtype=torch.float64))
    assert variable.requires_grad


def test_the_history_holds_means_over_images_for_each_lane():
    variable = torch.zeros(2, 1, requires_grad=True)
    entropies = iter([torch.tensor([1.0, 2.0]), torch.tensor([4.0, 8.0])] * 2)
    correct = iter([torch.tensor([6.0, 3.0]), torch.tensor([1.0, 0.0])] * 2)
    reported = []

    def objective(batch):
        return variable.sum(1), next(entropies), next(correct)

    history = minimize(objective, variable, labelled(6, 2, lanes=2), epochs=2, report=reported.append)
    assert [row["epoch"] for row in history] == [1, 2]
    assert reported == history
    for row in history:
        assert row["images"] == 8
        assert row["loss"] == pytest.approx([(6 * 1 + 2 * 4) / 8, (6 * 2 + 2 * 8) / 8])
        assert row["accuracy"] == pytest.approx([7 / 8, 3 / 8])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named_with_its_place(one_line, value):
    variable = torch.zeros(2, 1, requires_grad=True)
    count = 0

    def objective(batch):
        nonlocal count
        count += 1
        # Lane 2 is poisoned in the third step of the second epoch, and both from then on.
        poison = {8: [0, value]}.get(count, [0, 0] if count < 8 else [value, value])
        losses = variable.sum(1) + torch.tensor(poison)
        return losses, losses.detach(), torch.zeros(2)

    with one_line(resume.Hopeless, "seed 8", "epoch 2,", "step 3,", "learning rate 0.05", "lower the learning rate"):
        minimize(objective, variable, labelled(*[4] * 5, lanes=2), epochs=2, schedule="cosine")


def test_each_step_has_its_own_learning_rate_where_the_schedule_goes_by_steps():
    variable = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    rates = []
    history = minimize(
        slope(variable),
        variable,
        labelled(4, 4, 4),
        epochs=2,
        schedule="one_cycle",
        after_step=rates.append,
        steps_per_epoch=3,
    )
    training = {"schedule": "one_cycle", "epochs": 2}
    expected = [
        0.1 * schedules.learning_rate_factor(training, epoch, step, 3) for epoch in (0, 1) for step in (0, 1, 2)
    ]
    assert rates == expected and len(set(rates)) == 6
    # The history has each epoch's last one.
    assert [row["learning_rate"] for row in history] == [expected[2], expected[5]]


@pytest.fixture
def training(tiny_dataset, tiny_network):
    """Train a population, how: in turn as on a CPU, or at once as on a GPU; returns vectors, buffers and history."""

    def train(
        seeds,
        recipe=None,
        dtype=torch.float32,
        attack=None,
        state=None,
        epochs=2,
        norm="batch",
        how="_in_turn",
        schedule="constant",
        **more,
    ):
        population = [tiny_network(seed, norm, dtype) for seed in seeds]
        vars(population[0]).update(more)
        functional = Functional(population[0])
        functional._in_turn = getattr(functional, how)
        vectors, buffers = functional.stack(network.state_dict() for network in population)
        vectors.requires_grad_(True)
        history = minimize(
            classification.objective_of(functional, vectors, buffers, attack),
            vectors,
            lambda epoch, first: datasets.batches(tiny_dataset, seeds, epoch, first, 16, {"shift": 1}),
            epochs=epochs,
            schedule=schedule,
            steps_per_epoch=datasets.steps_per_epoch(tiny_dataset, 16),
            optimizer=recipe or OPTIMIZER,
            lanes=[f"seed {seed}" for seed in seeds],
            state=state or Forgetful(),
            buffers=buffers,
        )
        return vectors.detach(), buffers, history

    return train


def assert_same(found, expected, lane=slice(None)):
    assert torch.equal(found[0][lane], expected[0][lane])
    for name, buffer in expected[1].items():
        assert torch.equal(found[1][name][lane], buffer[lane]), name


def test_training_lowers_the_loss(training):
    _, _, history = training([1], epochs=15)
    assert history[-1]["loss"][0] < 0.5 * history[0]["loss"][0]
    assert history[-1]["accuracy"][0] > 0.9


def test_a_learning_rate_that_is_too_high_is_named(training, one_line):
    with one_line(resume.Hopeless, "seed ", "epoch ", "step ", "learning rate 1e+10"):
        training([1, 2], {**PLAIN, "learning_rate": 1e10}, norm="none")


@pytest.mark.parametrize("how", ["_in_turn", "_at_once"])
@pytest.mark.parametrize("attack", [None, ATTACK])
def test_a_lane_does_not_feel_its_neighbours(training, attack, how):
    first = training([1, 2, 3], attack=attack, how=how)
    other = training([1, 5, 6], attack=attack, how=how)
    assert_same(first, other, lane=0)
    assert [row["loss"][0] for row in first[2]] == [row["loss"][0] for row in other[2]]
    # The neighbours are others indeed, and all of them were trained.
    assert not torch.equal(first[0][1], other[0][1])


@pytest.mark.parametrize("how", ["_in_turn", "_at_once"])
@pytest.mark.parametrize("attack", [None, ATTACK])
def test_a_population_is_its_networks_one_by_one(training, attack, how):
    together = training([1, 2, 3], dtype=torch.float64, attack=attack, how=how)
    for lane, seed in enumerate((1, 2, 3)):
        alone = training([seed], dtype=torch.float64, attack=attack)
        torch.testing.assert_close(together[0][lane], alone[0][0], rtol=1e-9, atol=1e-9)
        for name, buffer in alone[1].items():
            torch.testing.assert_close(together[1][name][lane], buffer[0], rtol=1e-9, atol=1e-9)
        for row, expected in zip(together[2], alone[2]):
            assert (row["loss"][lane], row["accuracy"][lane]) == pytest.approx(
                (expected["loss"][0], expected["accuracy"][0])
            )


@pytest.mark.parametrize("seeds", [[1], [1, 2]])
def test_the_same_seeds_give_the_same_bytes(training, tmp_path, seeds):
    for name in ("first", "second"):
        vectors, buffers, _ = training(seeds, attack=ATTACK)
        artifacts.save(tmp_path / name, {"vectors": vectors, **buffers}, {"rule": "train"})
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_another_seed_gives_another_network(training):
    assert not torch.equal(training([1])[0], training([2])[0])


class StoppedAt(resume.State):
    """A state that is asked to stop after `steps` steps."""

    def __init__(self, output, steps):
        super().__init__(output, "identity")
        self.steps = steps

    def offer(self, snapshot):
        self.steps -= 1
        if self.steps == 0:
            self.signal = signal.SIGTERM
        super().offer(snapshot)


# Epochs have three steps: the first, one within the first epoch, its last, one within the second.
@pytest.mark.parametrize("step", [1, 2, 3, 5])
@pytest.mark.parametrize("how", [{"attack": ATTACK}, {"recipe": ADAMW, "schedule": "one_cycle"}], ids=["sgd", "adamw"])
def test_a_stopped_run_goes_on_with_the_same_bits(training, tmp_path, how, step):
    whole = training([1, 2], epochs=3, **how)
    with pytest.raises(resume.Stopped), StoppedAt(tmp_path / "networks", step) as state:
        training([1, 2], epochs=3, state=state, **how)
    with resume.State(tmp_path / "networks", "identity") as state:
        found = training([1, 2], epochs=3, state=state, **how)
        assert state.resumed
    assert_same(found, whole)
    assert found[2] == whole[2]


def test_a_compiled_run_that_is_stopped_goes_on_with_the_same_bits(training, tmp_path):
    """Its last batch of an epoch is smaller, so it begins with another shape than the whole run did."""
    whole = training([1], compiled=True)
    with pytest.raises(resume.Stopped), StoppedAt(tmp_path / "networks", 2) as state:
        training([1], compiled=True, state=state)
    torch._dynamo.reset()  # as in a new process
    with resume.State(tmp_path / "networks", "identity") as state:
        found = training([1], compiled=True, state=state)
        assert state.resumed
    assert_same(found, whole)
    assert not torch.equal(whole[0], training([1])[0])  # it was compiled indeed, and rounds otherwise
