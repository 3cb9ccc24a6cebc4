"""Random streams named by what they are for, so that a resumed or regrouped run draws the same numbers."""

import hashlib

import torch


def generator(*key, device="cpu"):
    """A generator seeded by `key`, e.g. ("order", seed, epoch); distinct keys give independent streams."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
