"""Measure how similar the activations along a curve are to those of its endpoints, layer by layer.

At each t the network is compared with both endpoints on the images of the alignment split: mean correlation and L2
distance of its activations, as they are and if the network at t were aligned to the endpoint. Statistics of
batch normalization are re-estimated at each point, including the endpoints.
"""

from modeconn import artifacts, batchnorm, connectivity, measuring, populations, programs, similarity

parser = populations.parser(__doc__, curve=True)


def main(arguments, job):
    values = arguments.job
    pair = populations.load(arguments, job.device)
    spec = pair.spec()
    control_points = populations.curve_points(arguments, pair, job.device)
    settings, functional = values["activations"], pair.functional
    count = settings["points"]
    images, _ = pair.dataset.split("alignment")

    def state(vectors):
        """State dict of the network `vectors` (1, D), with its statistics."""
        buffers = batchnorm.recalibrated(functional, vectors, pair.dataset, settings["recalibration"], values)
        return functional.unpack(vectors[0]) | {name: buffer[0] for name, buffer in buffers.items()}

    ends = [state(control_points[:1]), state(control_points[-1:])]
    path = connectivity.along(control_points, values["curve"]["kind"], count)
    _, facts = job.state.load() or ({}, {"rows": []})
    rows = facts["rows"]
    done = len({row["t"] for row in rows})
    for look in job.points(path, count, f"activations along {values['names']['curve']}", done):
        place = {**values["names"], **look.place, "split": "alignment"}
        vectors = measuring.combine(control_points, look.networks)
        measured = similarity.to_ends(functional.network, spec, state(vectors), ends, images)
        rows.extend(place | row for row in measured)
        job.state.offer(lambda: ({}, {"rows": rows}))
    artifacts.write_rows(arguments.output, rows)


if __name__ == "__main__":
    programs.run(parser, main)
