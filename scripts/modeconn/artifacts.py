"""Artifacts: files of tensors, written atomically and verified by checksum when read. Equal content has equal bytes.

An artifact is a safetensors file whose only metadata key holds canonical JSON: its kind, the rule and values that made
it, the versions of libraries, and a checksum of its tensors. It does not hold facts of a single run (time, host).
"""

import argparse
import contextlib
import csv
import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save as serialize

from modeconn import bits, compiler, files
from modeconn.identity import canonical

KEY = "modeconn"
LANES = "lanes"  # key of the metadata: a checksum for each network of a file with several
LONGEST_HEADER = 100_000_000  # bytes: what safetensors allows
# Arguments of programs that name artifacts.
ARGUMENTS = ("data", "networks", "sparse", "permutation", "curve", "statistics")


def write_rows(path, rows):
    """Write rows (dicts with the same keys) to `path` as CSV, atomically; numbers with nine digits."""
    with files.replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{v:.9g}" if isinstance(v, float) else v for key, v in row.items()})


def versions(device, network):
    """What decides bits besides recipe and source: versions, device, a CPU's instruction set or a GPU's name.

    network: its values in the config. The version of torchvision is included only if it built the network, and whether
    there is a compiler only if the network is to be compiled.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        instructions = torch.cuda.get_device_name()
    else:
        instructions = bits.instructions()
        if network.get("precision") == "bfloat16" and torch.cpu._is_amx_tile_supported():
            instructions += " AMX"
    some = {}
    if network["family"] == "torchvision":  # without importing it, which takes seconds
        some["torchvision"] = importlib.metadata.version("torchvision")
    if network.get("compile"):
        some["compiled"] = "yes" if compiler.present() else "no"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        **some,
        "device": kind,
        "instructions": instructions,
    }


def provenance(rule: str, job: dict, device: str, inputs: dict) -> dict:
    """The metadata of an artifact that `rule` makes: the job's values, versions, and checksums of inputs."""
    return {
        "rule": rule,
        "job": job,
        "versions": versions(device, job["network"]) if "network" in job else {},
        "inputs": inputs,
    }


def save(path, tensors, metadata, lanes=False):
    """Write tensors (name -> Tensor) and metadata (JSON values, with the "rule" that makes it).

    lanes: the tensors' first axis counts networks, each with a checksum of its own, so that one can be read without
    the others (`load_lane`).
    """
    # A clone, since contiguous() leaves the strides of an expanded axis of length one as they are.
    plain = torch.contiguous_format
    tensors = {name: tensor.detach().cpu().clone(memory_format=plain) for name, tensor in tensors.items()}
    if lanes or LANES in metadata:  # checksums of an artifact that was read and is now written again, changed
        count = len(next(iter(tensors.values())))
        metadata = {
            **metadata,
            LANES: [_checksum_of({name: t[lane] for name, t in tensors.items()}) for lane in range(count)],
        }
    metadata = {**metadata, "checksum": _checksum(tensors, metadata)}
    with files.replacing(path) as temporary:
        temporary.write_bytes(serialize(tensors, metadata={KEY: canonical(metadata)}))


def load(path, device="cpu", rule=None):
    """Tensors on `device` and metadata of the artifact at `path`, which has to come from `rule` if that is given.

    rule: a name, or several allowed ones.

    Raises ValueError naming the file and what to do where it is absent, truncated, edited, not an
    artifact, or of another rule. A file that this project has not made is never reported as damaged.
    """
    with _opened(path, rule) as (file, metadata):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
        if metadata.pop("checksum") != _checksum(tensors, metadata):
            raise ValueError("its checksum does not fit its content")
    return _copied(tensors, device), metadata


def load_lane(path, lane, device="cpu", rule=None):
    """The tensors of one lane of an artifact that was saved with `lanes`; the other lanes are not read.

    Errors: `load`.
    """
    with _opened(path, rule) as (file, metadata):
        tensors = {name: file.get_slice(name)[lane] for name in file.keys()}  # noqa: SIM118, it is no dict
        if LANES not in metadata:
            raise ValueError("its networks have no checksums of their own: it is of an earlier version")
        if metadata.pop("checksum") != _of_metadata(metadata) or metadata[LANES][lane] != _checksum_of(tensors):
            raise ValueError("its checksum does not fit its content")
    return _copied(tensors, device)


def _copied(tensors, device):
    """Copies on `device`: what is read shares the memory of the file, and would change with it after it was checked."""
    return {name: tensor.to(device, copy=True) for name, tensor in tensors.items()}


@contextlib.contextmanager
def _opened(path, rule):
    """(file, metadata) of the artifact at `path`. Errors, also when tensors are read in this context: `load`."""
    path = Path(path)
    rules = [rule] if isinstance(rule, str) else rule
    wanted = f"rule {' or '.join(rules)}" if rules else "the rule that makes it"
    maker = wanted
    if not path.exists():
        raise ValueError(f"{path} does not exist: run {maker}")
    if foreign := _foreign(path):
        raise ValueError(f"{path} {foreign}: give a file from {wanted}, or run that again")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = _metadata(file)
            maker = f"rule {metadata['rule']}"
            yield file, metadata
    except (safetensors.SafetensorError, OSError, ValueError, IndexError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete {files.places(path)} and run {maker} again") from None
    if rules and metadata["rule"] not in rules:
        raise ValueError(f"{path} comes from {maker}: give a file from {wanted}")


def _foreign(path):
    """A description of the file at `path` if it certainly is no artifact, not even a damaged one; else None."""
    if not path.is_file():  # reading from a pipe would block
        return "is no file"
    try:
        with open(path, "rb") as file:
            start = file.read(8)
            header = file.read(min(int.from_bytes(start, "little"), LONGEST_HEADER))
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    # A safetensors file may begin with these too, since its header's length comes first; then comes the header.
    if start.startswith((b"PK\3\4", b"\x80")) and not header.startswith(b"{"):
        return "is a checkpoint as torch.save writes it, or another archive, and no artifact of this project"
    try:
        made = KEY in json.loads(header).get("__metadata__", {})
    except (ValueError, AttributeError):
        return None
    return None if made else "is a safetensors file that this project has not made, or its header is damaged"


class Input(str):
    """The path of an artifact that a program reads."""


INPUT: dict[str, Any] = {"type": Input, "metavar": "FILE"}  # type of an argument


def named(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Argument -> the artifacts that it names, empty if it was not given, in the order of arguments."""
    found = {}
    for name, value in vars(arguments).items():
        paths = [] if value is None else value if isinstance(value, list) else [value]
        # The statistics are an output of the program that makes them.
        if name in ARGUMENTS and all(isinstance(path, Input) for path in paths):
            found[name] = paths
    return found


def checksums(arguments: argparse.Namespace) -> dict[str, list[str | None]]:
    """Argument -> checksums of the artifacts that it names: the `inputs` that an artifact records.

    A checksum is None where the file is not a whole artifact; `load` then raises an error that says why.
    """
    return {name: [checksum(path) for path in paths] for name, paths in named(arguments).items()}


def metadata(path):
    """The metadata of the artifact at `path`, from its header; empty where `load` would find it damaged."""
    path = Path(path)
    if not path.exists() or _foreign(path):
        return {}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return _metadata(file)
    except (safetensors.SafetensorError, OSError, ValueError):
        return {}


def checksum(path):
    """The checksum in the metadata of the artifact at `path`; None where there is none."""
    return metadata(path).get("checksum")


def _metadata(file):
    """The metadata that `save` wrote beside the tensors."""
    metadata = json.loads((file.metadata() or {}).get(KEY, "null"))
    if not isinstance(metadata, dict) or not {"rule", "checksum"} <= metadata.keys():
        raise ValueError("it is no artifact of modeconn")
    return metadata


def _checksum(tensors, metadata):
    """The checksum of tensors and metadata; where lanes have their own checksums, of the metadata that hold them."""
    if LANES not in metadata:
        return _checksum_of(tensors, canonical(metadata))
    lanes = enumerate(metadata[LANES])
    if any(_checksum_of({name: t[lane] for name, t in tensors.items()}) != known for lane, known in lanes):
        return None
    return _of_metadata(metadata)


def _of_metadata(metadata):
    return hashlib.sha256(canonical(metadata).encode()).hexdigest()


def _checksum_of(tensors, start=""):
    digest = hashlib.sha256(start.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
