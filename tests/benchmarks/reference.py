"""The same work by the code that was published with Tatro et al. 2020, from a folder with a copy of it.

A copy is had by cloning the public repository IBM/NeuronAlignment; it is not part of this project. What it needs to
run on libraries of today is put in place here: names that NumPy has dropped, modules that were not published. Its
images are given to it normalized and in memory, so neither its data loaders nor its augmentation are timed.
"""

import contextlib
import io
import sys
from types import ModuleType

import numpy as np
import torch
from ours import BATCH, EVALUATION_BATCH, PGD, POINTS, RECIPE, generated

NAMES = {"tinyten": "TinyTen", "resnet32": "ResNet32"}
ABSENT = ("models.tiny_six", "models.vgg", "utils.attack_ensemble")


class Loader(list):
    """Batches in memory with the `dataset` that the code asks the length of."""

    def __init__(self, images, labels, size):
        super().__init__(zip(images.split(size), labels.split(size)))
        self.dataset = labels


class Reference:
    def __init__(self, folder, network, images, device):
        np.int, np.float = int, float
        sys.modules |= {name: ModuleType(name) for name in ABSENT}
        sys.path.insert(0, str(folder))
        import models
        from utils import alignment, attack, utils

        self.utils, self.alignment, self.curves = utils, alignment, models.curves
        self.architecture = getattr(models, NAMES[network["family"]])
        self.name, self.device = NAMES[network["family"]], device
        dataset = generated(images)
        images, labels = (dataset.train_images.float() / 255 - 0.5) / 0.25, dataset.train_labels
        self.loader, self.evaluation_loader = (
            Loader(images.to(device), labels.to(device), size) for size in (BATCH, EVALUATION_BATCH)
        )
        torch.manual_seed(1)
        self.models = [self.architecture.base(num_classes=10, device=device).to(device) for _ in range(3)]
        self.criterion = torch.nn.CrossEntropyLoss()
        settings = {"num_steps": PGD["steps"], "step_size": PGD["step"], "epsilon": PGD["epsilon"]}
        settings |= {"random_start": PGD["random_start"], "loss_func": "xent"}
        self.attacked = attack.AttackPGD(self.models[0], settings, loss_func=self.criterion)

    def _optimizer(self, model, decay):
        trained = [p for p in model.parameters() if p.requires_grad]
        return torch.optim.SGD(trained, lr=RECIPE["learning_rate"], momentum=0.9, weight_decay=decay, nesterov=True)

    def train(self):
        model = self.models[0]
        self.utils.train(self.loader, model, self._optimizer(model, 5e-4), self.criterion)

    def train_robust(self):
        optimizer = self._optimizer(self.models[0], 5e-4)
        self.attacked.train()
        self.utils.train(self.loader, self.attacked, optimizer, self.criterion, adversarial_flag=True)

    def _curve(self):
        curve = self.curves.CurveNet(10, self.device, self.curves.Bezier, self.architecture.curve, 3, True, True)
        for index, model in ((0, self.models[0]), (2, self.models[1])):
            curve.import_base_parameters(model, index)
        curve.init_linear()
        return curve.to(self.device)

    def fit(self):
        curve = self._curve()
        regularizer = self.curves.l2_regularizer(5e-4)
        self.utils.train(self.loader, curve, self._optimizer(curve, 0), self.criterion, regularizer)

    def evaluate(self):
        curve = self._curve().net
        for t in np.linspace(0, 1, POINTS):
            weights = torch.tensor([(1 - t) ** 2, 2 * t * (1 - t), t**2], dtype=torch.float32, device=self.device)
            self.utils.update_bn(self.evaluation_loader, curve, coeffs_t=weights)
            for _ in ("train", "test"):
                self.utils.test(self.evaluation_loader, curve, self.criterion, coeffs_t=weights)

    def attack(self):
        self.attacked.eval()
        self.utils.test(self.evaluation_loader, self.attacked, self.criterion, adversarial_flag=True)

    def match(self):
        of_name = {
            "TinyTen": self.alignment.compute_model_alignment,
            "ResNet32": self.alignment.compute_model_alignment_resnet,
        }
        with contextlib.redirect_stdout(io.StringIO()):  # it prints each layer's number
            of_name[self.name](*self.models[:2], self.loader)
