"""Random streams named by their purpose, so that a resumed or regrouped run draws the same numbers."""

import hashlib

import torch


def generator(*key, device="cpu"):
    """A generator seeded by `key`, e.g. ("order", seed, epoch); distinct keys give independent streams."""
    return torch.Generator(device).manual_seed(_seed(key))


def seed_layers(*key, device="cpu"):
    """Seed torch's own generator by `key`; here only layers such as dropout draw from it."""
    # Not torch.manual_seed, which seeds every kind of device and takes longer than a step of a small network.
    own = torch.cuda if torch.device(device).type == "cuda" else torch.default_generator
    own.manual_seed(_seed(key))


def _seed(key):
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
