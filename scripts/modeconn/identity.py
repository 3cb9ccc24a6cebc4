"""Canonical JSON of a value, and a short hash of it."""

import hashlib
import json


def canonical(value):
    """JSON with sorted keys and no spaces; 1.0 is written as 1. Raises ValueError for NaN and infinities."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value):
    """Eight hex digits of the hash of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:8]


def plain(value):
    """The value with whole floats as integers, so that 1.0 and 1 mean the same everywhere."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
