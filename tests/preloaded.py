"""A Python that starts in no time: its programs are forks of a process that has imported the large libraries.

A test run starts hundreds of programs, of which each would spend two seconds on importing torch, or one on Snakemake.
Its first process calls `start`, which makes a program that is called as Python is (`python()`, for all processes of the
test run). That asks a server for a fork, which gets its arguments, environment, folder and open files, passes signals
on to it, and ends as it does. The server imports nothing of the project and computes nothing, so that a fork finds what
a new process would.

Real Python runs instead where a fork would differ: for options such as `-c`, and where the environment holds what is
read while Python starts or a library is loaded. Tests of processes (which is whose child, what a kill leaves) start
`sys.executable`, which is real.
"""

import marshal
import os
import select
import signal
import socket
import sys

LIBRARIES = (
    *("torch", "safetensors.torch", "scipy.optimize", "sklearn.datasets", "PIL.Image", "tqdm"),
    *("pandas", "matplotlib.figure", "matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg"),
    *("jsonschema", "psutil", "snakemake.cli", "snakemake.workflow", "snakemake.executors.local"),
    *("snakemake.report.html_reporter", "smart_open"),  # which Snakemake imports late
)
# Starts of the names of variables that are read early, and those that change nothing here: text is UTF-8 anyway, and
# scikit-learn, once it is imported, sets two for an OpenMP that torch does not have.
EARLY = ("PYTHON", "LD_", "OMP_", "GOMP_", "KMP_", "MKL_", "ONEDNN_", "DNNL_", "ATEN_", "TORCH_", "PYTORCH_")
LATE = ("PYTHONUTF8", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK")
# As Snakemake sets them for a job of one thread, and as the server has them. Programs set the threads of torch anew.
THREADS = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR")}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# The variable that tells all processes of a test run where the program is.
PLACE = "PRELOADED_PYTHON"


def python():
    """The path of the program."""
    return os.environ[PLACE]


def start(folder):
    """Start a server, and make the program in `folder`. Returns a function that ends the server, as the end of this
    process does."""
    import subprocess

    program, address = os.path.join(folder, "python"), os.path.join(folder, "socket")
    call = [sys.executable, "-IS", __file__, "call", address, sys.executable, _early()]
    with open(program, "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in call) + ' "$@"\n')
    os.chmod(program, 0o755)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    os.environ[PLACE] = program
    # Nothing ever comes from the pipe but its end.
    server = subprocess.Popen(
        [sys.executable, __file__, "serve", str(listener.fileno()), program],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=os.environ | THREADS,
        pass_fds=[listener.fileno()],
        start_new_session=True,
    )
    listener.close()

    def end():
        server.stdin.close()
        server.wait()
        del os.environ[PLACE]

    return end


def _early():
    """The variables that are read early, but those of one thread, in hexadecimal digits."""
    found = {name: value for name, value in os.environ.items() if name.startswith(EARLY) and name not in LATE}
    return marshal.dumps(sorted(found.items() - THREADS.items())).hex()


def call(address, real, early, *arguments):
    """Run Python with `arguments`, and end as it does."""
    options = arguments[:1] != ("-m",) and (not arguments or arguments[0].startswith("-"))
    if options or _early() != early:
        os.execv(real, [real, *arguments])
    umask = os.umask(0)
    os.umask(umask)
    asked = marshal.dumps((arguments, dict(os.environ), os.getcwd(), umask))
    server = socket.socket(socket.AF_UNIX)
    server.connect(address)
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: server.send(bytes([number])))
    socket.send_fds(server, [len(asked).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(asked)
    status = server.recv(8)
    if not status:
        sys.exit("the server of preloaded Python has ended")
    code = os.waitstatus_to_exitcode(int.from_bytes(status, "big"))
    if code < 0:  # by a signal, so this too
        if -code in SIGNALS:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def serve(listener, program):
    """Fork for all who ask, until the process that has started this one ends. Returns in the forks."""
    listener, loaded = socket.socket(fileno=int(listener)), False
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            os._exit(0)
        client, _ = listener.accept()
        if not loaded:  # only where somebody asks
            load()
            loaded = True
        if os.fork() == 0:
            listener.close()
            become(client, program)
            return
        client.close()
        _bury()


def _bury():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def load():
    """Import the libraries."""
    import contextlib
    import gc
    import importlib

    for name in LIBRARIES:
        with contextlib.suppress(ImportError):  # tests that do not need it run without
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)  # Snakemake's plan is many small objects that stay


def become(client, program):
    """Fork once more. Returns in the new process, which is what the client has asked for; the other one watches it."""
    size, files, _, _ = socket.recv_fds(client, 8, 3)
    asked = b""
    while len(asked) < int.from_bytes(size, "big"):
        asked += client.recv(2**20)
    if process := os.fork():
        for file in files:
            os.close(file)
        watch(client, process)
    client.close()
    sys.argv, environment, folder, umask = marshal.loads(asked)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
    sys.executable = program


def watch(client, process):
    """Pass on signals, kill the process where its client was killed, and tell its client how it ended."""
    ended = os.pidfd_open(process)
    watched = [client, ended]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if ended in ready:
            _, status = os.waitpid(process, 0)
            if client in watched:
                client.send(status.to_bytes(8, "big"))
            os._exit(0)
        number = client.recv(1)
        if not number:
            watched.remove(client)
        os.kill(process, number[0] if number else signal.SIGKILL)


def run():
    """Run the program of `sys.argv` and end as Python does, without taking apart all that was imported."""
    import atexit
    import runpy
    import threading

    sys.argv, code = list(sys.argv), 0
    try:
        if sys.argv[0] == "-m":
            del sys.argv[0]
            sys.path[0] = os.getcwd()
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            sys.path[0] = os.path.dirname(os.path.realpath(sys.argv[0]))
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 255)


if __name__ == "__main__":
    what, *given = sys.argv[1:]
    if what == "call":
        call(*given)
    serve(*given)
    run()
