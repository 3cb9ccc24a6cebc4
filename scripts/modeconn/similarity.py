"""The similarity of activations of a network on a curve to those of its endpoints, layer by layer."""

from modeconn.matching import activation


def to_ends(network, spec, tensors, ends, images):
    """Rows, as dicts, for each of the `ends` (state dicts), each site of a group, after and before its nonlinearity.

    tensors: state dict of the network on the curve; images: uint8 (N, C, H, W).
    before: mean correlation of channels of equal number; distance_before: ‖A - B‖ / √images. Theorem 3.1 of Tatro et
    al. 2020 bounds the loss by distances before the nonlinearity. after, distance_after: the same if the network is
    aligned to that end by correlation at that site, their "alignment along the curve".
    """
    rows = []
    for end, of_end in enumerate(ends):
        for site in ("post", "pre"):
            correlations = activation.correlate(network, spec, of_end, tensors, activation.batches_of(images), site)
            found = activation.match_correlations(spec, correlations)
            pairs = zip(
                activation.signature(correlations, found), activation.distances(correlations, found), strict=True
            )
            for position, ((group, *alike), (_, *distances)) in enumerate(pairs):
                measured = dict(zip(("before", "after", "distance_before", "distance_after"), alike + distances))
                rows.append({"end": end, "group": group, "position": position, "site": site, **measured})
    return rows
