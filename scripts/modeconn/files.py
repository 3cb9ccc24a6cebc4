"""Write files atomically: whole or not at all."""

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

LEAST_ROOM = 2**16  # bytes


@contextlib.contextmanager
def replacing(path):
    """A temporary path beside `path` that atomically replaces it when the block succeeds, and is deleted otherwise.

    Raises OSError that names `path` where it cannot be written, on a full disk for example.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(temporary)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes files private; an artifact gets the permissions of any new file.
        temporary.chmod(0o666 & ~umask())
        temporary.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def umask():
    """The umask of this process: permissions that its new files do not get."""
    found = os.umask(0)
    os.umask(found)
    return found


def is_full(folder):
    """Whether the disk of `folder`, or of its nearest existing parent, is full."""
    folder = Path(folder).absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free < LEAST_ROOM


def write_bytes(path, content):
    """Write `content` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path, text):
    """Write `text` to `path`, whole or not at all."""
    write_bytes(path, text.encode())


def places(path):
    """The path of a file for a message, with the file in the cache that it links to, which has to be deleted too."""
    path = Path(path)
    return f"{path} and the file it links to, {path.resolve()}," if path.is_symlink() else str(path)


def date_now(folder):
    """Set the dates of files under `folder` that lie in the future to now, and return how many there were.

    Snakemake treats an output that is older than its inputs as an error.
    """
    now = time.time()
    late = [path for path in Path(folder).rglob("*") if path.lstat().st_mtime > now]
    for path in late:
        os.utime(path, (now, now), follow_symlinks=False)
    return len(late)
