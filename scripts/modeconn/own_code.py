"""A user's own code, named as `file.py:function`: a function that builds a network or returns images.

The file is executed. Its source is part of the plan, so this module does not import torch.
"""

import ast
import inspect
import sys
import traceback
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from modeconn.fingerprint import source_digest


def is_named(text: str) -> bool:
    """Whether `text` names a function in a file, as `network.py:build` does."""
    return text.rpartition(":")[0].endswith(".py")


def parts(named: str) -> tuple[Path, str]:
    """(file, function) of `file.py:function`. Raises ValueError for anything else."""
    path, _, function = named.rpartition(":")
    if not path.endswith(".py") or not function.isidentifier():
        raise ValueError(f"{named} names no function in a file: write it as network.py:build")
    return Path(path).expanduser(), function


def digest(named: str) -> str:
    """Eight hex digits of the file's source, comments and docstrings left out.

    Raises ValueError, one line, where there is no such file, it is no Python, or does not define the function.
    """
    path, function = parts(named)
    if not path.is_file():
        raise ValueError(f"{path} is no file: give the path of a Python file, from the folder that make is run in")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:  # ValueError: a file that is no text
        raise ValueError(f"{path} is no Python that can be read: {error}") from None
    defined = sorted(_defined(tree.body))
    if function not in defined:
        raise ValueError(f"{path} defines no {function}: it defines {', '.join(defined) or 'nothing'}")
    return source_digest(path)


def _defined(body):
    """The names that statements of a module define, also within `if`, `try` and `with`."""
    found = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.If | ast.Try | ast.With):
            found |= _defined([child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)])
    return found


def load(named: str, beside: bool = False) -> Callable[..., Any]:
    """The function that `file.py:function` names; the file is executed.

    beside: whether the file can import modules from its own folder.
    Raises ValueError, one line, where `digest` does, or the file cannot be run.
    """
    digest(named)
    path, function = parts(named)
    if beside:
        sys.path.insert(0, str(path.parent.absolute()))
    spec = spec_from_file_location(f"own_code_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look modules up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        reason = _described(error, path)
        if isinstance(error, ModuleNotFoundError) and not beside and (path.parent / f"{error.name}.py").is_file():
            reason += ": a network of a study cannot import files beside it, put their code into this file"
        raise ValueError(f"{path} cannot be run: {reason}") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(f"{path}: {function} is no function")
    return found


def call(function: Callable[..., Any], named: str, **known: Any) -> Any:
    """Call the function with those of the arguments `known` that it names, and return its result.

    Raises ValueError, one line with the line of the file, where it needs other arguments, or raises.
    """
    path, name = parts(named)
    parameters = inspect.signature(function).parameters
    asked = {key: value for key, value in known.items() if key in parameters}
    needed = [
        key for key, p in parameters.items() if p.default is p.empty and p.kind < p.VAR_POSITIONAL and key not in asked
    ]
    if needed:
        offered = f"it is offered {', '.join(known)}" if known else "it is called without arguments"
        raise ValueError(f"{path}: {name} asks for {', '.join(needed)}, and {offered}: give the rest defaults")
    try:
        return function(**asked)
    except Exception as error:
        raise ValueError(f"{path}: {name} raises {_described(error, path)}") from error


def _described(error, path):
    """An error in one line, with the last line number of the file in its traceback."""
    reason = (str(error) or repr(error)).splitlines()[0]
    through = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path.absolute()]
    through = through or [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == path.name]
    where = f" in line {through[-1].lineno}" if through else ""
    return f"{type(error).__name__}{where}: {reason}"
