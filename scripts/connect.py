"""Are two networks connected by a line of low loss, as they are or with their neurons matched?

Nothing of a checkpoint is executed. This is the command `modeconn connect` where the package is not installed.
"""

import sys

from modeconn import command

if __name__ == "__main__":
    command.main(["connect", *sys.argv[1:]])
