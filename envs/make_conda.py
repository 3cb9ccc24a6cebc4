"""Write the conda environments of the rules from the lock, so that versions are stated once.

Run by `make lock`; a test compares what it would write with what is there.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
PYTHON = "3.12"
TOOLS = {
    "torch": ["mlxtend", "numpy", "pillow", "safetensors", "scikit-learn", "scipy", "torch", "torchvision", "tqdm"],
    "figures": ["jsonschema", "matplotlib", "numpy", "pandas", "pyyaml", "safetensors", "scipy"],
}


def pinned(lock):
    """name -> version of every package of a lock, the first where it depends on the platform."""
    pins = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==([^\s;\\]+)", lock, re.MULTILINE):
        pins.setdefault(name, version)
    return pins


def environment(tools, pins):
    """The text of one conda environment. Raises KeyError for a tool that the lock does not hold."""
    lines = ["# Generated from requirements.txt by make_conda.py: do not edit.", "channels:", "  - conda-forge"]
    lines += ["  - nodefaults", "dependencies:", f"  - python ={PYTHON}", "  - pip", "  - pip:"]
    lines += [f"      - {tool}=={pins[tool]}" for tool in tools]
    return "\n".join(lines) + "\n"


def environments():
    """path -> text of every environment."""
    pins = pinned((HERE / "requirements.txt").read_text(encoding="utf-8"))
    return {HERE / f"{name}.yaml": environment(tools, pins) for name, tools in TOOLS.items()}


if __name__ == "__main__":
    for path, text in environments().items():
        path.write_text(text, encoding="utf-8")
        print(path.name, file=sys.stderr)
