"""torchvision's classifiers by name, untrained."""

import copy
import difflib
import warnings

import torch


def classifier(model, shape, classes):
    """torchvision's `model`, initialized as torchvision does, for images of `shape` (C, H, W).

    In train mode some (googlenet, inception_v3) return (logits, logits of auxiliary heads ...).
    Raises ValueError where torchvision has no such model, or it does not run on images of this shape.
    """
    from torchvision import models  # seconds to import, and only these networks need it

    known = models.list_models(module=models)
    if model not in known:
        near = ", ".join(difflib.get_close_matches(model, known, cutoff=0.5)) or "resnet18 or densenet121"
        raise ValueError(f"network family torchvision: there is no model {model!r}: did you mean {near}?")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # that the default initialization may change
        network = models.get_model(model, weights=None, num_classes=classes)
    try:  # without computing anything; in train mode, since auxiliary heads need more pixels than the rest
        copy.deepcopy(network).to("meta").train()(torch.empty(2, classifier.CHANNELS, *shape[1:], device="meta"))
    except Exception as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        raise ValueError(
            f"network family torchvision: {model} does not run on images of {shape[1]}x{shape[2]} pixels "
            f"({reason}): change the data set's size"
        ) from error
    network.auxiliary_weight = 0.3  # of each auxiliary head's loss, if there are any
    return network


classifier.CHANNELS = 3  # type: ignore[attr-defined]
