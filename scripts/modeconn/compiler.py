"""The C++ compiler that compiled networks need."""

import os
import shutil


def name():
    """What CXX says, or g++."""
    return os.environ.get("CXX", "g++")


def present():
    """Whether it is here."""
    return shutil.which(name()) is not None
