"""The page of the library says what its docstrings say, of all that it offers and of every argument."""

import ast
import re

from write_reference import PAGE, arguments_of, page, parsed, public

SOURCE = parsed("interface")


def test_the_page_is_what_the_docstrings_say():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tests/write_reference.py"


def test_everything_that_is_offered_has_a_section():
    headings = re.findall(r"^### (\w+)$", page(), re.MULTILINE)
    assert set(public(SOURCE)) <= set(headings) and len(headings) == len(set(headings))


def test_every_argument_is_explained():
    """By a line of its own, but for the network, the spec, the state dicts a and b, which the head of the page has."""
    known = {"network", "spec", "a", "b", "state"}
    for node in SOURCE.body:
        if getattr(node, "name", "_").startswith("_"):
            continue
        methods = [part for part in getattr(node, "body", []) if isinstance(part, ast.FunctionDef)]
        for function in methods if isinstance(node, ast.ClassDef) else [node] * isinstance(node, ast.FunctionDef):
            documented = node if function.name == "__init__" else function
            lines = re.findall(r"^([\w, ]+): ", ast.get_docstring(documented), re.MULTILINE)
            told = {name for line in lines for name in line.split(", ")}
            asked = {argument.args[0].arg for argument in arguments_of(function)}
            assert asked <= known | told, function.name
