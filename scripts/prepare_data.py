"""Turn a source of images or points into one file of tensors: its splits, and what alignment uses of them."""

from modeconn import artifacts, datasets, programs

parser = programs.parser(__doc__)
parser.add_argument(
    "--downloads",
    default=datasets.DOWNLOADS,
    metavar="FOLDER",
    help=f"where archives are kept, and put by hand (default: {datasets.DOWNLOADS})",
)


def main(arguments, job):
    tensors, metadata = datasets.prepare(arguments.job["dataset"], arguments.downloads)
    artifacts.save(arguments.output, tensors, {"rule": "prepare_data", "job": arguments.job, **metadata})
    sizes = {name.removesuffix("_labels"): len(of) for name, of in tensors.items() if name.endswith("_labels")}
    held = f", {sizes['hold_out']} held out" if "hold_out" in sizes else ""
    print(f"{sizes['train']} training and {sizes['test']} test images, {len(tensors['alignment'])} for alignment{held}")


if __name__ == "__main__":
    programs.run(parser, main)
