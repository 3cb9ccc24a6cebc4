"""Show the progress of long work on data."""

import sys

from tqdm import tqdm


def counter(total, what, unit, done=0):
    """A function to call with the amount of new progress: a bar on a terminal, else a line for each tenth.

    total: the whole amount, None if it is not known.
    """
    bar = tqdm(desc=what, total=total, initial=done, unit=unit, unit_scale=True, disable=not sys.stderr.isatty())

    def advance(count=1):
        nonlocal done
        before, done = done, done + count
        bar.update(count)
        if bar.disable and total and done * 10 // total > before * 10 // total:
            print(f"{what}: {done:,} of {total:,} {unit}", flush=True)

    return advance
