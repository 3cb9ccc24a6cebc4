"""Text is UTF-8 in every locale, since sources are hashed and results are read on other machines."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "scripts").rglob("*.py"), *(ROOT / "envs").glob("*.py")])


def by_locale(tree):
    """Lines on which text is read or written in the encoding of the locale."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            mode = next((a.value for a in node.args[1:2] if isinstance(a, ast.Constant)), "r")
            text = name in ("read_text", "write_text") or (name == "open" and isinstance(node.func, ast.Name))
            # The project's own encode and decode as UTF-8 themselves.
            own = ast.unparse(node.func) in ("files.write_text", "write_text", "manifests.read_text")
            binary = name == "open" and "b" in str(mode)
            if text and not own and not binary and not any(keyword.arg == "encoding" for keyword in node.keywords):
                yield node.lineno


def test_what_is_looked_for_is_found():
    source = "open(p)\nopen(p, 'w')\nopen(p, 'rb')\np.read_text()\np.write_text(t)\n"
    source += "files.write_text(p, t)\nmanifests.read_text(p)\n"
    assert list(by_locale(ast.parse(source))) == [1, 2, 4, 5]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_program_reads_or_writes_text_by_the_locale(path):
    assert list(by_locale(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_a_fingerprint_is_the_same_in_every_locale():
    code = "from modeconn.fingerprint import fingerprint; print(fingerprint('train', ['networks.tinyten', 'attacks']))"
    found = set()
    for variables in ({"PYTHONUTF8": "1"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"), **variables},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert len(found) == 1 and "attacks:" in found.pop()
