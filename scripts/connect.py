"""Are two networks of one's own connected? `modeconn connect`, for who has not installed the package."""

import sys

from modeconn import command

if __name__ == "__main__":
    command.main(["connect", *sys.argv[1:]])
