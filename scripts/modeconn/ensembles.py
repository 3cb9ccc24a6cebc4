"""Networks that answer together."""

import math

import torch


class Ensemble:
    """M networks of one architecture that answer with the mean of their softmax (Tatro et al. 2020, their code).

    To be used where a `Functional` is, with vectors (1, M, D) and buffers name -> (1, M, ...). The logits
    (1, N, classes) are logarithms of the mean probabilities, so that cross-entropy and an attack that raises it are
    those of the ensemble.
    """

    def __init__(self, functional):
        self.functional = functional

    def outputs(self, vectors, buffers, images, train=False):
        # One after another, not as lanes: on a CPU that is quicker (see `Functional`).
        logits = [
            self.functional(vectors[:, member], {name: b[:, member] for name, b in buffers.items()}, images, train)
            for member in range(vectors.shape[1])
        ]
        return (torch.stack(logits).log_softmax(-1).logsumexp(0) - math.log(len(logits)),)

    def __call__(self, vectors, buffers, images):
        return self.outputs(vectors, buffers, images)[0]
