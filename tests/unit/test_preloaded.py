"""The Python that tests start programs by does what Python does."""

import os
import signal
import subprocess
import sys

import pytest

import preloaded

SAYS = """\
import json, os, sys
print(json.dumps([sys.argv, os.getcwd(), os.environ.get("WORD"), os.umask(0), sys.stdin.read(), sys.path[0]]))
print("wrong", file=sys.stderr)
"""


@pytest.fixture
def both(tmp_path):
    """Run a program by real Python and by the preloaded one: returns both processes, ended."""
    (tmp_path / "folder").mkdir()

    def both(source, *arguments, **options):
        (tmp_path / "program.py").write_text(source)
        options = {"cwd": tmp_path / "folder", "capture_output": True, "text": True} | options
        commands = [[python, "../program.py", *arguments] for python in (sys.executable, preloaded.python())]
        return [subprocess.run(command, **options) for command in commands]

    return both


def test_a_program_gets_what_it_is_given(both):
    real, ours = both(SAYS, "--a", "b c", env=os.environ | {"WORD": "w"}, input="in", umask=0o027)
    assert (ours.returncode, ours.stdout, ours.stderr) == (0, real.stdout, real.stderr)
    assert '"b c"' in real.stdout and '"w", 23, "in"' in real.stdout and real.stderr == "wrong\n"


def test_libraries_are_there_before_it_starts(both):
    """Also in the environment that Snakemake gives a job of one thread, and where scikit-learn was imported before."""
    program = "import sys; print('torch' in sys.modules, 'modeconn' in sys.modules)"
    real, ours = both(program, env=os.environ | preloaded.THREADS | {"KMP_INIT_AT_FORK": "FALSE"})
    assert (real.stdout, ours.stdout) == ("False False\n", "True False\n")


@pytest.mark.parametrize(
    "end", ["", "sys.exit(3)", "sys.exit('why')", "1 / 0", "os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 15)"]
)
def test_it_ends_as_the_program_does(both, end):
    real, ours = both(f"import os, sys\nprint('said')\n{end}")
    assert (ours.returncode, ours.stdout) == (real.returncode, real.stdout)
    assert ours.stderr.splitlines()[-1:] == real.stderr.splitlines()[-1:]


def test_signals_reach_the_program(tmp_path):
    (tmp_path / "program.py").write_text(
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))\n"
        "print('ready', flush=True)\nsignal.pause()\n"
    )
    process = subprocess.Popen([preloaded.python(), tmp_path / "program.py"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 7


@pytest.mark.parametrize("variable", [{"PYTHONPATH": "there"}, {"MKL_CBWR": "COMPATIBLE"}, {"OMP_NUM_THREADS": "2"}])
def test_what_is_read_early_gets_a_process_of_its_own(both, variable):
    _, ours = both("import sys; print('torch' in sys.modules)", env=os.environ | variable)
    assert ours.stdout == "False\n"
