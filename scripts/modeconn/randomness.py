"""Random streams named by their purpose, so that a resumed or regrouped run draws the same numbers."""

import hashlib
from collections.abc import Sequence

import torch


def generator(*key, device="cpu"):
    """A generator seeded by `key`, e.g. ("order", seed, epoch); distinct keys give independent streams."""
    return torch.Generator(device).manual_seed(_seed(key))


class Generators(Sequence):
    """A generator for each of `keys`, made when it is first asked for: most batches of many networks draw nothing."""

    def __init__(self, keys, device="cpu"):
        self._keys, self._device, self._made = keys, device, {}

    def __len__(self):
        return len(self._keys)

    def __getitem__(self, place):
        if place not in self._made:
            self._made[place] = generator(*self._keys[place], device=self._device)
        return self._made[place]


def seed_layers(*key, device="cpu"):
    """Seed torch's own generator by `key`; here only layers such as dropout draw from it."""
    # Not torch.manual_seed, which seeds every kind of device and takes longer than a step of a small network.
    own = torch.cuda if torch.device(device).type == "cuda" else torch.default_generator
    own.manual_seed(_seed(key))


def _seed(key):
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
