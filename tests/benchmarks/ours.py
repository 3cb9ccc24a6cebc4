"""The kernels of this project on generated data: each public method does the work once."""

import dataclasses

import torch

from modeconn import (
    batchnorm,
    classification,
    connectivity,
    curves,
    datasets,
    measuring,
    networks,
    planes,
    populations,
    refinement,
)
from modeconn.functional import Functional
from modeconn.matching import activation, weight
from modeconn.optimization import minimize

BATCH = 128  # of training, as everywhere in the paper but for one network
EVALUATION_BATCH = 512
POINTS = 9
RECIPE = {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
AUGMENTATION = {"rotation": 15, "flip": True, "shift": 4}  # Tatro et al. 2020, CIFAR
PGD = {"epsilon": 8 / 255, "step": 2 / 255, "steps": 5, "random_start": False}
REFINEMENT = {"epochs": 1, "batch": BATCH, "learning_rate": 0.05, "nu": 1, "projections": 20}
ROUNDING = {"samples": 32, "terms": 11, "seed": 1}


def generated(images, side=32):
    """A data set of random colour images, as many to train as to test on."""
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, 3, side, side), generator=rng).to(torch.uint8)
    labels = torch.arange(images) % 10
    return datasets.Dataset(pixels, labels, pixels, labels, torch.arange(images), [0.5] * 3, [0.25] * 3, 10)


class Silent:
    """In place of a job's state: nothing is kept."""

    def load(self, device="cpu"):
        return None

    def offer(self, snapshot):
        pass

    def answer(self):
        pass


class Ours:
    def __init__(self, network, images, device):
        dataset = generated(images)
        tensors = {name: value.to(device) for name, value in vars(dataset).items() if torch.is_tensor(value)}
        self.dataset = dataclasses.replace(dataset, **tensors)
        self.states = [
            {name: tensor.to(device) for name, tensor in networks.of(network, dataset, seed).state_dict().items()}
            for seed in (1, 2, 3, 4)
        ]
        self.network = networks.of(network, dataset).to(device)
        self.functional = Functional(self.network)
        self.pair = populations.Population(self.dataset, self.functional, tuple(self.states[:2]))

    def _minimize(self, objective, variables, lanes, augmentation, **more):
        minimize(
            objective,
            variables,
            lambda epoch, step: datasets.batches(self.dataset, lanes, epoch, step, BATCH, augmentation),
            {"epochs": 1, "schedule": "constant", "optimizer": RECIPE},
            lanes=lanes,
            report=lambda row: None,
            state=Silent(),
            **more,
        )

    def _train(self, states, attack, augmentation):
        vectors, buffers = self.functional.stack(states)
        vectors = vectors.requires_grad_(True)
        objective = classification.objective_of(self.functional, vectors, buffers, attack)
        self._minimize(objective, [vectors], list(range(len(states))), augmentation, buffers=buffers)

    def train(self):
        self._train(self.states[:1], None, AUGMENTATION)

    def train_population(self, networks=4):
        self._train([self.states[0]] * networks, None, AUGMENTATION)

    def train_robust(self):
        self._train(self.states[:1], PGD, AUGMENTATION)

    def augment(self):
        for _ in datasets.batches(self.dataset, [0], 0, 0, BATCH, AUGMENTATION):
            pass

    def fit(self):
        ends = self.pair.vectors()
        bends = curves.midpoints(*ends, 1)[None].requires_grad_(True)
        curve = {"kind": "bezier", "weight_decay": 5e-4}
        objective = curves.objective_of(self.functional, ends[None], bends, curve, None)
        self._minimize(objective, [bends], ["curve"], AUGMENTATION)

    def _evaluate(self, vectors, split, attack=None, buffers=None):
        images, labels = self.dataset.split(split)
        classification.evaluate(self.functional, vectors, buffers, images, labels, EVALUATION_BATCH, attack)

    def _recalibrated(self, vectors):
        return batchnorm.recalibrated(self.functional, vectors, self.dataset, {"images": 0, "batch": EVALUATION_BATCH})

    def evaluate(self, points=POINTS):
        ends = self.pair.vectors()
        for look in connectivity.along(ends, "linear", points):
            vectors = measuring.combine(ends, look.networks)
            buffers = self._recalibrated(vectors)
            for split in ("train", "test"):
                self._evaluate(vectors, split, buffers=buffers)

    def attack(self):
        vectors, buffers = self.functional.stack(self.states[:1])
        self._evaluate(vectors, "test", PGD, buffers)

    def plane(self):
        corners = torch.stack([self.functional.pack(state)[0] for state in self.states[:3]])
        plane = planes.Plane(corners)
        for x, y in planes.grid(3, (0, 1), (0, 1)):
            vectors = measuring.combine(plane.corners, [plane.at(x, y)])
            self._evaluate(vectors, "test", buffers=self._recalibrated(vectors))

    def match(self):
        spec = self.pair.spec()
        batches = activation.batches_of(self.dataset.train_images)
        correlations = activation.correlate(self.network, spec, *self.states[:2], batches)
        activation.match_correlations(spec, correlations)

    def match_weights(self):
        spec = self.pair.spec()
        weight.match_weights(spec, *self.states[:2], list(self.functional.shapes))

    def refine(self):
        refinement.relax(
            self.pair,
            self.pair.spec(),
            REFINEMENT,
            {"augmentation": AUGMENTATION, "attack": None},
            lane="pair",
            report=lambda row: None,
            state=Silent(),
        )

    def round(self):
        spec = self.pair.spec()
        rng = torch.Generator().manual_seed(0)
        matrices = {}
        for group, size in spec.groups.items():
            permuted = [torch.eye(size)[torch.randperm(size, generator=rng)] for _ in range(64)]
            matrices[group] = torch.stack(permuted).mean(0)
        refinement.candidates(spec, matrices, ROUNDING)
