"""Turn a source of images or points into one file of tensors: its splits, and the images that alignment uses."""

import warnings
from pathlib import Path

from modeconn import artifacts, datasets, files, manifests, programs
from modeconn.datasets import remarks

parser = programs.parser(__doc__)
parser.add_argument(
    "--downloads",
    default=datasets.DOWNLOADS,
    metavar="FOLDER",
    help=f"folder of archives, also of those that you put there by hand (default: {datasets.DOWNLOADS})",
)
parser.add_argument(
    "--remarks", type=manifests.Output, metavar="TXT", help="what a user should know about the data, one line each"
)


def main(arguments, job):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", remarks.Remark)
        tensors, metadata = datasets.prepare(arguments.job["dataset"], arguments.downloads)
        remarks.inspect(tensors)
    said = [str(warning.message) for warning in caught if issubclass(warning.category, remarks.Remark)]
    for warning in caught:
        print(f"{warning.category.__name__}: {warning.message}", flush=True)
    artifacts.save(arguments.output, tensors, {"rule": "prepare_data", "job": arguments.job, **metadata})
    if arguments.remarks is not None:
        files.write_text(arguments.remarks, "".join(f"{Path(arguments.output).stem}: {text}\n" for text in said))
    sizes = {name.removesuffix("_labels"): len(of) for name, of in tensors.items() if name.endswith("_labels")}
    held = f", {sizes['hold_out']} held out" if "hold_out" in sizes else ""
    print(f"{sizes['train']} training and {sizes['test']} test images, {len(tensors['alignment'])} for alignment{held}")


if __name__ == "__main__":
    programs.run(parser, main)
