"""The C++ compiler that compiled networks need."""

import os
import shutil


def name():
    """The compiler that CXX names, or g++."""
    return os.environ.get("CXX", "g++")


def present():
    """Whether the compiler is installed."""
    return shutil.which(name()) is not None
