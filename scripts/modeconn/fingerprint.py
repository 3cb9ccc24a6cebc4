"""Fingerprints: names and short hashes of the source modules that decide a job's result.

A job's fingerprint is part of its parameters, so that editing a module reruns the jobs that it decides and
no others, and a dry run shows which module changed. The hash is over the syntax tree without
positions, comments and docstrings, and the same on every supported version of Python.
"""

import ast
import hashlib
import os
import sys
from functools import cache
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
PACKAGE = Path(__file__).resolve().parent.name
# The table of names: only the rows that a job names decide its result, which `dispatch.entries` gives.
TABLE = "dispatch"
# Modules that decide how a job runs, not what it computes. Editing one of them reruns nothing, so none may change what
# is written: threads and determinism are in `bits`, metadata of artifacts in `artifacts`, pinned groups of neurons in
# `permutation.proof`. How Snakemake is run and stopped is in no job's fingerprint anyway.
RUNNING = frozenset(
    [
        "cost",
        "datasets.progress",
        "devices",  # which GPU, and its lock
        "files",  # atomic writes
        "fingerprint",
        "inputs",  # checks of inputs
        "manifests",
        "errors",  # messages
        "permutation.verdict",  # the tolerance of a proof, and its messages
        "programs",  # arguments, progress, memory, kind of device
        "resume",  # checkpoints, and the lock of an output
    ]
)


def fingerprint(program, uses=()):
    """ "align:1f0c2d3e artifacts:9b8a7c6d ..." for a program's name and the modules that its job names besides.

    It contains the program, the modules that it imports at module level, directly or not, and the modules `uses`
    ("attacks", "networks.tinyten") with their imports: modules that are imported inside a function, where
    a name in the config decides. It leaves out TABLE and, unless named in `uses`, the modules in RUNNING, but not the
    modules that those import. Raises ValueError for a program or module that does not exist.
    """
    found, waiting = {}, [program, *(f"{PACKAGE}.{name}" for name in uses)]
    while waiting:
        module = waiting.pop()
        if module not in found and module != f"{PACKAGE}.{TABLE}":
            found[module], imports = _read(_path(module))
            waiting += imports
    deciding = {name.removeprefix(f"{PACKAGE}."): digest for name, digest in sorted(found.items())}
    return " ".join(f"{name}:{digest}" for name, digest in deciding.items() if name not in RUNNING - {*uses})


def check(expected):
    """Compare the modules loaded in this process with the fingerprint that the job was given.

    Raises ValueError where a loaded module is not in it, or was edited since.
    """
    known = dict(item.split(":") for item in expected.split())
    for name, path in _loaded():
        if name == TABLE or name in RUNNING:
            continue
        digest, _ = _read(path)
        if name not in known:
            raise ValueError(
                f"{name} was loaded, but the job's fingerprint does not name it: add it to the rule's `uses`"
            )
        if known[name] != digest:
            raise ValueError(f"{path.relative_to(SCRIPTS)} was edited after this job was planned: run again")


def source_digest(path):
    """Eight hex digits of a source file, comments and docstrings left out. Raises SyntaxError where it is no Python."""
    return _read.__wrapped__(path)[0]


def _loaded():
    """(name, path) of every source file of the project that this process has loaded."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    for path in sorted(Path(file) for file in map(_real, filter(None, files)) if file.startswith(f"{SCRIPTS}{os.sep}")):
        parts = path.relative_to(SCRIPTS).with_suffix("").parts
        # The name comes from the path: the program itself is loaded under other names, such as __main__.
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield name.removeprefix(f"{PACKAGE}."), path


@cache
def _real(file):
    """`os.path.realpath`, which takes ten times as long: a process loads thousands of files from a few folders."""
    folder, name = os.path.split(file)
    return os.path.realpath(file) if os.path.islink(file) else os.path.join(_real_folder(folder), name)


@cache
def _real_folder(folder):
    return os.path.realpath(folder)


def _path(module):
    """The file of a module, "train" or "modeconn.networks"; a package is its __init__."""
    base = SCRIPTS.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    raise ValueError(f"module {module} does not exist under {SCRIPTS.name}/")


@cache
def _read(path):
    """(hash, imported project modules) of one source file."""
    digest, names = _parsed(path.read_text(encoding="utf-8"))
    return digest, tuple(name for name in names if _is_module(name))


@cache
def _parsed(source):
    """(hash, imports from the project: modules, and names inside them) of a source text."""
    tree = ast.parse(source)
    return hashlib.sha256(_text(tree).encode()).hexdigest()[:8], tuple(_imports(tree))


def _imports(tree):
    """The imports of a module at module level from the project: modules, and names that may be modules."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            # `from package import name`: the name may be a module or something inside the package.
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == PACKAGE:
                yield name


def _is_module(name):
    base = SCRIPTS.joinpath(*name.split("."))
    return base.with_suffix(".py").is_file() or (base / "__init__.py").is_file()


def _text(node):
    """A syntax tree as text, that of nested tuples: (type, (field, value), ...), lists, and the type and text of what
    else there is. Empty fields are left out, since versions of Python differ in them."""
    if isinstance(node, ast.AST):
        if isinstance(node, ast.JoinedStr):
            # Some versions of Python put empty strings between the parts of an f-string.
            node = ast.JoinedStr([part for part in node.values if getattr(part, "value", None) != ""])
        parts = [f"'{type(node).__name__}'"]
        for name, value in ast.iter_fields(_without_docstring(node)):
            if value is not None and value != []:
                parts.append(f"('{name}', {_text(value)})")
        return _tuple(parts)
    if isinstance(node, list):
        return _tuple([_text(item) for item in node])
    # With the type: 1, 1.0 and True are equal in Python, but make different programs.
    return "None" if node is None else f"('{type(node).__name__}', {repr(node)!r})"


def _tuple(parts):
    """The text of a tuple of these texts."""
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"


def _without_docstring(node):
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
        node = type(node)(**{**dict(ast.iter_fields(node)), "body": node.body[1:]})
    return node
