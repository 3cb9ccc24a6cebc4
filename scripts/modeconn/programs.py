"""The common parts of all computing programs: arguments, device, progress, cost, errors.

A program is `run(parser, main)`; `main(arguments, job)` does the work. A user's mistake or an error of the operating
system is one line on standard error and exit code 1; bugs keep their traceback.
"""

import argparse
import ctypes
import gc
import itertools
import json
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

from modeconn import artifacts, bits, cost, devices, errors, fingerprint, inputs, manifests, resume

NO_MEMORY = "not enough memory on this machine: lower the batch, the population, or the data's size"


def parser(description):
    """A parser with the arguments that every computing program has."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument(
        "--job", required=True, type=json.loads, metavar="JSON", help="every value that decides the result"
    )
    result.add_argument("--code", help="fingerprint of the source that the job was planned with; checked if given")
    result.add_argument(
        "--device",
        default="cpu",
        choices=("cpu", "cuda", "auto"),
        help="auto: cuda where there is one (default: cpu)",
    )
    result.add_argument("--gpus", type=int, metavar="N", help="GPUs that the job was given, 0 or 1 (default: unknown)")
    result.add_argument(
        "--output",
        required=True,
        **manifests.OUTPUT,
        help="what is made; its manifest and a file .cost.json go beside it",
    )
    return result


class Job:
    """One run of a program: its device, its progress and its cost."""

    def __init__(self, arguments):
        keep_memory()
        self.device = choose_device(arguments.device, arguments.gpus)
        bits.settle(arguments.job, self.device)
        self.started = time.monotonic()
        self.images = 0
        # With checksums of the inputs: values and source that decide only an input are not part of the job.
        self.values, self.inputs = arguments.job, artifacts.checksums(arguments)
        inputs.check(arguments, self.inputs)
        self.state = resume.State(arguments.output, [arguments.job, arguments.code, self.device, self.inputs])

    def provenance(self, rule: str) -> dict:
        """The metadata of an artifact that `rule` makes in this job: values, versions and inputs."""
        return artifacts.provenance(rule, self.values, self.device, self.inputs)

    def write_manifest(self, arguments: argparse.Namespace, rule: str) -> None:
        """Write the manifest beside the job's output, after all its other files."""
        named = [path for path in vars(arguments).values() if isinstance(path, manifests.Output)]
        outputs = [path for path in named if Path(path).exists()]
        made = {**self.provenance(rule), "code": arguments.code}
        manifests.write(manifests.beside(arguments.output), outputs, made)

    def progress(self, epochs, what):
        """A reporter for `optimization.minimize`: a line per epoch, or a bar on a terminal."""
        started, before, first = time.monotonic(), self.images, None
        bar = tqdm(total=epochs, desc=what, unit="epoch", disable=not sys.stderr.isatty())

        def report(row):
            nonlocal first
            first = first or row["epoch"]
            self.images += row["images"] * len(row["loss"])
            seconds = time.monotonic() - started
            loss, accuracy = (sum(row[key]) / len(row[key]) for key in ("loss", "accuracy"))
            facts = f"loss {loss:.4f}, accuracy {accuracy:.2%}, {(self.images - before) / seconds:,.0f} images/s"
            if not bar.disable:
                bar.set_postfix_str(facts)
                bar.update(row["epoch"] - bar.n)
                return
            left = seconds / (row["epoch"] - first + 1) * (epochs - row["epoch"])
            print(f"{what}: epoch {row['epoch']}/{epochs}, {facts}, {left:.0f} s left", flush=True)

        return report

    def points(self, values, total, what, done):
        """`values` without the first `done` of `total`, with a line for every tenth, or a bar on a terminal."""
        started = time.monotonic()
        bar = tqdm(desc=what, total=total, initial=done, unit="point", disable=not sys.stderr.isatty())
        for number, value in enumerate(itertools.islice(values, done, None), done + 1):
            yield value
            bar.update()
            if bar.disable and number * 10 // total > (number - 1) * 10 // total:
                seconds = time.monotonic() - started
                left = seconds / (number - done) * (total - number)
                print(f"{what}: {number}/{total} points, {seconds:.0f} s, {left:.0f} s left", flush=True)

    def write_cost(self, output):
        """Write the cost of this run beside its output."""
        cost.write(
            output,
            device=torch.cuda.get_device_name() if self.device == "cuda" else "cpu",
            threads=torch.get_num_threads(),
            images_per_second=round(self.images / (time.monotonic() - self.started)) if self.images else None,
            resumed=self.state.resumed,
            state=self.state.path.name,
        )


def choose_device(wanted, gpus=None):
    """`cpu` or `cuda`, with one GPU claimed.

    wanted: cpu, cuda (required) or auto. gpus: how many GPUs the job was given, None by hand.
    Raises ValueError where a GPU is required or given and none is found, so that nothing runs on a CPU by mistake.
    """
    if wanted == "cpu":
        return "cpu"
    if gpus == 0:
        if wanted == "cuda":
            raise ValueError("device cuda is asked for, and this run gives jobs no GPU: use --resources gpu=1, or more")
        print("given no GPU: computing on the CPU", flush=True)
        return "cpu"
    names = devices.present()
    if names:
        devices.claim(names)
    if names and torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda" or gpus:
        why = "device cuda is asked for" if wanted == "cuda" else "this job was given a GPU"
        seen = f"torch, made for CUDA {torch.version.cuda}, can use none here: is the driver too old?"
        seen = seen if names else "no GPU is seen here:"
        raise ValueError(f"{why}, and {seen} Set device to auto or cpu in the config, or gpu=0")
    return "cpu"


def keep_memory():
    """Let the GNU C library keep freed memory for later allocations.

    Otherwise large blocks go back to the operating system, which has to clear their pages when they are allocated
    again: on a CPU that takes a sixth of the time of evaluating TinyTen on batches of 512, a fiftieth of training it.
    """
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # malloc.h
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, -1)
        libc.mallopt(top_pad, 2**26)


def run(parser, main):
    """Parse the arguments, do the work, write the cost; exit with 1 and one line on a user's or the system's error."""
    gc.freeze()  # keeps imported modules out of garbage collection, which takes a quarter second at the end with torch
    arguments = parser.parse_args()
    name = Path(sys.argv[0]).name
    with errors.in_one_line():
        try:
            _work(arguments, main, name)
        except torch.OutOfMemoryError as error:
            sys.exit(f"{name}: {str(error).partition('. ')[0]}: lower the batch, the population, or GPU_SLOTS")
        except MemoryError:
            sys.exit(f"{name}: {NO_MEMORY}")
        except RuntimeError as error:
            if "DefaultCPUAllocator" not in str(error):
                raise
            sys.exit(f"{name}: {NO_MEMORY}")


def _work(arguments, main, name):
    """Run one job, from its checks to its cost; after a signal save its state and exit with the signal's code."""
    _check(arguments.code)
    job = Job(arguments)
    try:
        with job.state:
            if job.state.waited and cost.read(arguments.output).get("state") == job.state.path.name:
                print(f"{name}: the other process has made {arguments.output}", flush=True)
                return
            try:
                main(arguments, job)
            except resume.Hopeless as error:
                job.state.fail(str(error))
                raise
            # Checked again, now that the modules that the job names have been imported too.
            _check(arguments.code)
            job.write_manifest(arguments, Path(name).stem)
            job.write_cost(arguments.output)
    except resume.Stopped as stop:
        print(f"{name}: {stop}", file=sys.stderr)
        sys.exit(128 + job.state.signal)


def _check(code):
    if code is not None:
        fingerprint.check(code)
