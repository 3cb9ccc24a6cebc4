"""Train the bends of a curve between two networks, so that the loss stays low along it."""

from modeconn import artifacts, curves, datasets, manifests, optimization, populations, programs

parser = populations.parser(__doc__)
parser.add_argument("--history", required=True, **manifests.OUTPUT, help="loss and accuracy per epoch (CSV)")


def main(arguments, job):
    values = arguments.job
    pair = populations.load(arguments, job.device)
    curve, recipe, names = values["curve"], values["recipe"], values["names"]

    lanes = [f"curve {names['curve']} of pair {names['pair']}"]
    ends = pair.vectors()
    bends = curves.midpoints(*ends, curve["bends"])[None].requires_grad_(True)
    history = optimization.minimize(
        curves.objective_of(pair.functional, ends[None], bends, curve, recipe["attack"]),
        [bends],
        lambda epoch, step: datasets.batches(pair.dataset, lanes, epoch, step, curve["batch"], recipe["augmentation"]),
        curve,
        lanes=lanes,
        report=job.progress(curve["epochs"], f"fit {names['curve']}"),
        state=job.state,
        after_step=optimization.nearness([bends], curve["proximal"]) if curve.get("proximal") else None,
        steps_per_epoch=datasets.steps_per_epoch(pair.dataset, curve["batch"]),
    )

    artifacts.save(
        arguments.output,
        {"bends": bends[0]},
        job.provenance("fit_curve"),
    )
    artifacts.write_rows(
        arguments.history,
        optimization.history_rows(history, "curve", names, [names["pair"]], names["alignment"], names["curve"]),
    )


if __name__ == "__main__":
    programs.run(parser, main)
