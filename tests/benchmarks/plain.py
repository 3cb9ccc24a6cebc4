"""The same work in plain PyTorch: float32, contiguous memory, one module a network, torch's own optimizer.

Images are already floats in memory and nothing is augmented, so the comparison favours it.
"""

import torch
import torch.nn.functional as F
from ours import BATCH, EVALUATION_BATCH, PGD, POINTS, RECIPE, generated
from scipy.optimize import linear_sum_assignment
from torch.func import functional_call

from modeconn import networks, permutation


class Plain:
    def __init__(self, network, images, device):
        dataset = generated(images)
        self.images, self.labels = (dataset.train_images.float() / 255).to(device), dataset.train_labels.to(device)
        self.networks = [networks.of(network, dataset, seed).to(device) for seed in (1, 2, 3, 4)]

    def _batches(self, size):
        return zip(self.images.split(size), self.labels.split(size))

    def _attacked(self, network, images, labels):
        attacked = images.clone()
        for _ in range(PGD["steps"]):
            attacked.requires_grad_(True)
            (gradient,) = torch.autograd.grad(F.cross_entropy(network(attacked), labels), attacked)
            moved = attacked.detach() + PGD["step"] * gradient.sign()
            attacked = (images + (moved - images).clamp(-PGD["epsilon"], PGD["epsilon"])).clamp(0, 1)
        return attacked

    def _train(self, network, attack=None):
        network.train()
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=RECIPE["learning_rate"],
            momentum=RECIPE["momentum"],
            nesterov=RECIPE["nesterov"],
            weight_decay=RECIPE["weight_decay"],
        )
        for images, labels in self._batches(BATCH):
            if attack:
                images = attack(network, images, labels)
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()

    def train(self):
        self._train(self.networks[0])

    def train_population(self):
        for network in self.networks:
            self._train(network)

    def train_robust(self):
        self._train(self.networks[0], self._attacked)

    def augment(self):
        """The same changes by torchvision, image by image as a data loader makes them."""
        from torchvision.transforms import v2

        change = v2.Compose([v2.RandomAffine(15), v2.RandomHorizontalFlip(), v2.RandomCrop(32, padding=4)])
        for images in (self.images * 255).to(torch.uint8).split(BATCH):
            torch.stack([change(image) for image in images]).float() / 255

    def fit(self):
        first, second, network = self.networks[:3]
        network.train()
        bend = {name: p.detach().clone().requires_grad_(True) for name, p in network.named_parameters()}
        ends = [dict(end.named_parameters()) for end in (first, second)]
        optimizer = torch.optim.SGD(bend.values(), lr=RECIPE["learning_rate"], momentum=0.9, nesterov=True)
        for images, labels in self._batches(BATCH):
            t = torch.rand(()).item()
            point = {
                name: (1 - t) ** 2 * ends[0][name].detach() + 2 * t * (1 - t) * p + t**2 * ends[1][name].detach()
                for name, p in bend.items()
            }
            decay = sum(p.square().sum() for p in point.values())
            optimizer.zero_grad()
            (F.cross_entropy(functional_call(network, point, (images,)), labels) + 2.5e-4 * decay).backward()
            optimizer.step()

    @torch.no_grad()
    def evaluate(self):
        first, second, network = self.networks[:3]
        norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for t in torch.linspace(0, 1, POINTS).tolist():
            for p, a, b in zip(network.parameters(), first.parameters(), second.parameters()):
                p.copy_((1 - t) * a + t * b)
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None
            network.train()
            for images, _ in self._batches(EVALUATION_BATCH):
                network(images)
            network.eval()
            for _ in ("train", "test"):
                for images, labels in self._batches(EVALUATION_BATCH):
                    logits = network(images)
                    F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).sum().item()

    def attack(self):
        network = self.networks[0].eval()
        for images, labels in self._batches(EVALUATION_BATCH):
            attacked = self._attacked(network, images, labels)
            with torch.no_grad():
                F.cross_entropy(network(attacked), labels)

    def _activations(self, network):
        """What each nonlinearity returns, by module: a list of batches."""
        outputs = {}

        def keep(module, _, output):
            outputs.setdefault(module, []).append(output)

        hooks = [m.register_forward_hook(keep) for m in network.modules() if isinstance(m, torch.nn.ReLU)]
        for images, _ in self._batches(BATCH):
            network(images)
        for hook in hooks:
            hook.remove()
        return outputs

    @torch.no_grad()
    def match(self):
        """Algorithm 1 as it is written: all activations of both networks are kept, then z-scored."""
        kept = []
        for network in self.networks[:2]:
            outputs = self._activations(network.eval())
            kept.append([torch.cat(values).transpose(0, 1).flatten(1) for values in outputs.values()])
        for a, b in zip(*kept):
            a, b = (((x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-5)) for x in (a, b))
            linear_sum_assignment(1.01 - (a @ b.T / a.shape[1]).numpy())

    def match_weights(self):
        spec = permutation.discover(self.networks[0], self.images[:2])
        match_weights(spec, *(dict(network.named_parameters()) for network in self.networks[:2]))


@torch.no_grad()
def match_weights(spec, a, b, restarts=1, seed=0):
    """Git Re-Basin's coordinate descent as it is written: from the identity, with every product at each visit.

    Of several restarts, which differ in the order of the groups, the best one counts.
    """
    axes = [axis for axis in spec.axes if axis.tensor in a]
    groups = {(axis.tensor, axis.dim): axis.segments[0].group for axis in axes}
    if any(len(axis.segments) > 1 or axis.segments[0].repeat > 1 for axis in axes):
        raise ValueError("an axis here carries one group, channel by channel")
    generator = torch.Generator().manual_seed(seed)
    results = [_descend(spec, groups, a, b, generator) for _ in range(restarts)]
    return max(results, key=lambda found: similarity(spec, found, a, b))


def similarity(spec, found, a, b):
    """Cosine of all parameters, the second network's permuted, in float64."""
    ends = [a, permutation.apply(spec, found, b)]
    x, y = (torch.cat([end[name].detach().flatten().double() for name in a]) for end in ends)
    return torch.cosine_similarity(x, y, dim=0).item()


def _descend(spec, groups, a, b, generator):
    found = permutation.identity(spec)
    for _ in range(100):
        gained = False
        for i in torch.randperm(len(spec.groups), generator=generator):
            group = list(spec.groups)[i]
            size = spec.groups[group]
            gains = torch.zeros(size, size)
            for tensor, dim in [place for place, carried in groups.items() if carried == group]:
                permuted = b[tensor]
                for (other, axis), carried in groups.items():
                    if other == tensor and axis != dim:
                        permuted = permuted.index_select(axis, found[carried])
                rows_a, rows_b = (t.movedim(dim, 0).reshape(size, -1) for t in (a[tensor], permuted))
                gains += rows_a @ rows_b.T
            order = torch.from_numpy(linear_sum_assignment(gains.numpy(), maximize=True)[1])
            before, after = (gains.gather(1, indices[:, None]).sum() for indices in (found[group], order))
            gained |= bool(after > before + 1e-12)
            found[group] = order
        if not gained:
            break
    return found
