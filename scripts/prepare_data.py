"""Turn a source of images into one file of tensors: both splits, and the images that alignment uses."""

from modeconn import artifacts, datasets, programs

parser = programs.parser(__doc__)


def main(arguments, job):
    tensors, metadata = datasets.prepare(arguments.job["dataset"])
    artifacts.save(arguments.output, tensors, {"rule": "prepare_data", "job": arguments.job, **metadata})
    sizes = {split: len(tensors[f"{split}_labels"]) for split in ("train", "test")}
    print(f"{sizes['train']} training and {sizes['test']} test images, {len(tensors['alignment'])} for alignment")


if __name__ == "__main__":
    programs.run(parser, main)
