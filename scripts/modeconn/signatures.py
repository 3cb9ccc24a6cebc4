"""How alike the activations of a pair are: their correlations, and the table that an alignment leaves of them."""

from modeconn import artifacts, datasets
from modeconn.matching import activation

BATCH = 64  # images: the quickest on a CPU


def correlate(pair, spec, split):
    """Correlations of the two networks' activations on the images of `split`."""
    images, _ = pair.dataset.split(split)
    inputs = (datasets.to_float(part) for part in images.split(BATCH))
    return activation.correlate(pair.functional.network, spec, pair.first, pair.second, inputs)


def write(path, names, correlations, found):
    """Write the mean correlation of matched neurons before and after the permutation `found`, by group (CSV).

    names: columns that name the pair and its alignment. correlations: split -> those of the pair as it was trained.
    """
    artifacts.write_rows(
        path,
        [
            {**names, "group": group, "position": position, "split": split, "before": before, "after": after}
            for split, of_split in correlations.items()
            for position, (group, before, after) in enumerate(activation.signature(of_split, found))
        ],
    )
