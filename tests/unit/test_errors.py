"""Programs end at a user's or the operating system's error with one line that says what to do."""

import errno
import os
import signal

import pytest

from modeconn import errors


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "free some space, and run the same command again"),
        (errno.EACCES, "allow it (chmod, chown), or run as its owner"),
    ],
)
def test_what_the_machine_refuses_comes_with_what_to_do(number, words):
    with pytest.raises(SystemExit) as ended, errors.in_one_line():
        raise OSError(number, os.strerror(number), "results/a.csv")
    message = ended.value.code
    assert message.endswith(words) and "results/a.csv" in message and "\n" not in message


def test_a_users_mistake_is_its_own_line():
    with pytest.raises(SystemExit) as ended, errors.in_one_line():
        raise ValueError("config, name: take another")
    assert ended.value.code.endswith(": config, name: take another")


def test_ctrl_c_ends_without_a_traceback(capsys):
    with pytest.raises(SystemExit) as ended, errors.in_one_line():
        raise KeyboardInterrupt
    assert ended.value.code == 128 + signal.SIGINT
    assert capsys.readouterr().err.endswith(": stopped\n")


def test_our_own_mistakes_keep_their_traceback():
    with pytest.raises(KeyError), errors.in_one_line():
        raise KeyError("x")
