"""Mode connectivity modulo permutation: pure functions on tensors.

Nothing is imported here, so that a program loads only the rooms that it names.
"""
