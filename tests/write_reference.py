"""The functions that `import modeconn` offers, as the page scripts/README.md: written from their docstrings."""

import ast
import re
from itertools import chain, pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "scripts" / "README.md"
# What the functions return: class -> the module that defines it.
RETURNED = {
    "PermutationSpec": "permutation/spec",
    "Rescaled": "permutation/scales",
    "Rotated": "permutation/rotations",
    "Rotation": "permutation/spec",
    "Gain": "permutation/spec",
    "Proof": "permutation/proof",
    "Profile": "connecting",
    "Connection": "connecting",
}
HEAD = """\
# The library: `import modeconn`

[{contents}](#{contents_anchor}) · [{returned}](#{returned_anchor})

Written from the docstrings by `python tests/write_reference.py`; `pip install .` installs the library, which needs
torch, NumPy, SciPy and safetensors. [Fifteen lines of it](../README.md#bring-your-own) align and merge two networks.
The programs in this folder are the jobs of the workflow ([how it runs](../workflow/README.md)).
"""
FUNCTIONS, TYPES = "Functions", "What they return"


def page() -> str:
    """The page as Markdown."""
    tree = parsed("interface")
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    # In the order of the source, which is that of use.
    offered = [defined[name] for name in defined if name in public(tree)]
    head = HEAD.format(
        contents=FUNCTIONS,
        contents_anchor=FUNCTIONS.lower(),
        returned=TYPES,
        returned_anchor=TYPES.lower().replace(" ", "-"),
    )
    parts = [head, text(ast.get_docstring(tree).partition("\n\n")[2]), f"## {FUNCTIONS}"]
    for node in offered:
        parts += function(node) if isinstance(node, ast.FunctionDef) else methods(node)
    parts.append(f"## {TYPES}")
    for name, module in RETURNED.items():
        (node,) = [node for node in parsed(module).body if isinstance(node, ast.ClassDef) and node.name == name]
        parts += [f"### {name}", *fields(node), text(ast.get_docstring(node))]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def parsed(module):
    return ast.parse((ROOT / "scripts" / "modeconn" / f"{module}.py").read_text(encoding="utf-8"))


def public(tree):
    assigned = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    return ast.literal_eval(assigned["__all__"])


def function(node, name=None, level="###"):
    """Heading, signature and docstring of a function, or of a method under the name that it is called by."""
    name, arguments = (
        name or f"modeconn.{node.name}",
        ast.unparse(node.args).removeprefix("self, ").removeprefix("self"),
    )
    returned = f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else ""
    code = f"{name}({arguments}){returned}"
    if len(code) > 100:
        split = [ast.unparse(a) for a in arguments_of(node)]
        code = f"{name}(\n" + "".join(f"    {argument},\n" for argument in split) + f"){returned}"
    code = re.sub(r"(: [^=,]+)=", r"\1 = ", code).replace("'", '"')  # as our formatter writes it
    return [f"{level} {node.name}", f"```python\n{code}\n```", text(ast.get_docstring(node))]


def arguments_of(node):
    """Each argument of a function but self, with its default, as a list of arguments of its own."""
    own = [argument for argument in node.args.args if argument.arg != "self"]
    defaults = [[]] * (len(own) - len(node.args.defaults)) + [[default] for default in node.args.defaults]
    return [ast.arguments([], [one], None, [], [], None, default) for one, default in zip(own, defaults)]


def methods(node):
    """A class: how it is made, and its public methods."""
    made, *others = [part for part in node.body if isinstance(part, ast.FunctionDef)]
    _, signature, _ = function(made, f"modeconn.{node.name}")
    found = [f"### {node.name}", signature, text(ast.get_docstring(node))]
    for method in others:
        found += function(method, f"curve.{method.name}", "####")
    return found


def fields(node):
    """The fields of a dataclass with their types."""
    lines = [f"{f.target.id}: {ast.unparse(f.annotation)}" for f in node.body if isinstance(f, ast.AnnAssign)]
    return ["```python\n" + "\n".join(lines) + "\n```"] if lines else []


def text(docstring):
    """A docstring as Markdown: what it says of `name: ...` is a list, and what is returned or raised a paragraph."""
    found = []
    for paragraph in (docstring or "").split("\n\n"):
        parts = []
        for line in map(str.strip, paragraph.splitlines()):
            if names := re.match(r"(`?\w+`?(?:, \w+)*): ", line):
                quoted = ", ".join(f"`{name}`" for name in names[1].replace("`", "").split(", "))
                parts.append(f"- {quoted}: {line[names.end() :]}")
            elif parts and not re.match(r"(Returns|Raises) ", line):
                parts[-1] += f" {line}"
            else:
                parts.append(line)
        listed = [part.startswith("- ") for part in parts]
        ends = ["\n" if own and following else "\n\n" for own, following in pairwise([*listed, False])]
        found.append("".join(chain(*zip(parts, ends))).strip())
    return "\n\n".join(found)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
