"""Ensembles: networks whose prediction is the mean of their softmax."""

import math


class Ensemble:
    """M networks of one architecture, which predict by the mean of their softmax (Tatro et al. 2020, their code).

    It can be used in place of a `Functional`, with vectors (1, M, D) and buffers name -> (1, M, ...). The logits
    (1, N, classes) are logarithms of the mean probabilities, so that cross-entropy and an attack that raises it are
    those of the ensemble.
    """

    def __init__(self, functional):
        self.functional = functional

    def outputs(self, vectors, buffers, images, train=False):
        members = {name: buffer[0] for name, buffer in buffers.items()}
        count = vectors.shape[1]
        logits = self.functional(vectors[0], members, images.expand(count, *images.shape[1:]), train)
        return (logits.log_softmax(-1).logsumexp(0, keepdim=True) - math.log(count),)

    def __call__(self, vectors, buffers, images):
        return self.outputs(vectors, buffers, images)[0]
