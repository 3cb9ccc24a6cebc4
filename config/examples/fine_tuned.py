"""Two networks of torchvision's, fine-tuned from one initialization on a folder of images.

.venv/bin/python config/examples/fine_tuned.py results/fine_tuned  # images, three networks: 50 s on one core
make connect A=results/fine_tuned/a.pt B=results/fine_tuned/b.pt NETWORK=resnet18 \
    DATA=results/fine_tuned/images OUTPUT=results/fine_tuned/connected

Nothing is downloaded: the images are scikit-learn's digits, written as PNG files, and instead of pretrained weights the
network is trained here on the digits 0 to 4. From there it is fine-tuned twice on the digits 5 to 9, in another order
of the images each time (a.pt, b.pt). c.pt is trained on 5 to 9 from an initialization of its own.

Results on 309 test images, for networks of about 93 % accuracy, between all pairs of three networks (n = 3, on a
CPU, error in the middle of the line above that of its ends): networks fine-tuned from one initialization are connected
as they are, 0.2 ± 0.3 points, and matching by weights changes nothing; of those with initializations of their own the
barrier is 27.5 ± 4.6 points, and 14.2 ± 1.3 matched by weights. With so few images the effect of chance is more than 2
points: for a.pt and b.pt the command says that it is too close to say.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from sklearn.datasets import load_digits

NETWORK, SIZE, BEFORE = "resnet18", 16, 5  # pixels a side; digits below five come first


def write_images(folder):
    """Write train/<digit>/*.png and test/<digit>/*.png of the digits 5 to 9, and return images and labels of 0 to 4."""
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target)):
        if label >= BEFORE:
            path = folder / ("test" if number % 3 == 0 else "train") / str(label) / f"{number:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15.9).astype("uint8")).resize((SIZE, SIZE)).save(path)
    others = digits.target < BEFORE
    return torch.from_numpy(digits.images[others]).float()[:, None] / 16, torch.from_numpy(digits.target[others])


def read_images(folder):
    """(images (N, 3, 16, 16) in [0, 1], labels from 0) of a folder that has a folder for each class."""
    data = torchvision.datasets.ImageFolder(folder, torchvision.transforms.ToTensor())
    images, labels = zip(*data)
    return torch.stack(images), torch.tensor(labels)


def train(images, labels, seed, start=None, epochs=3, steps=None):
    """A network trained from the state dict `start`, whose classifier is drawn anew, or from its initialization."""
    torch.manual_seed(seed)
    network = torchvision.models.get_model(NETWORK, num_classes=5)
    if start is not None:
        network.load_state_dict(
            {name: tensor for name, tensor in start.items() if not name.startswith("fc.")}, strict=False
        )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(labels)).split(32)[:steps]:
            optimizer.zero_grad()
            F.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
        schedule.step()
    return network.state_dict()


def main(folder, epochs=3, steps=None):
    first, labels = write_images(folder / "images")
    first = F.interpolate(first, SIZE, mode="bicubic").clamp(0, 1).expand(-1, 3, -1, -1)
    start = train(first, labels, 0, None, epochs, steps)
    images, labels = read_images(folder / "images/train")
    for name, seed, begin in (("a", 1, start), ("b", 2, start), ("c", 3, None)):
        torch.save(train(images, labels, seed, begin, epochs, steps), folder / f"{name}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
