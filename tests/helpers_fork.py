"""New processes in milliseconds: forked from a template that has imported torch.

The template is a process that only imports. A fork of it becomes ``python -m MODULE``,
``python -c SOURCE`` or ``python PATH``, and ends as any Python process does.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
NUMBER = struct.Struct("i")


@cache
def template() -> socket.socket:
    """Start the template, which ends with this process; returns the socket of its requests."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, __file__, str(theirs.fileno())],
        env={"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
        start_new_session=True,
    )
    theirs.close()
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


class Forked:
    """A fork of the template, with those parts of Popen's interface that tests use."""

    def __init__(
        self, command: list[str], cwd: Path, environment: dict[str, str], *, new_session: bool
    ) -> None:
        (out, to_out), (err, to_err), (self._report, report) = (os.pipe() for _ in range(3))
        request = json.dumps([command, str(cwd), environment, new_session]).encode()
        socket.send_fds(template(), [request], [to_out, to_err, report])
        for descriptor in (to_out, to_err, report):
            os.close(descriptor)
        self.stdout, self.stderr = (os.fdopen(pipe, encoding="utf-8") for pipe in (out, err))
        self.returncode: int | None = None
        (self.pid,) = NUMBER.unpack(os.read(self._report, NUMBER.size))

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._report], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a forked process", timeout or 0)
            (self.returncode,) = NUMBER.unpack(os.read(self._report, NUMBER.size))
            os.close(self._report)
        return self.returncode

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self) -> tuple[str, str]:
        with self.stdout, self.stderr, ThreadPoolExecutor(1) as pool:
            err = pool.submit(self.stderr.read)
            out = self.stdout.read()
        self.wait()
        return out, err.result()


# -- the template ------------------------------------------------------------------------


def forked(requests: socket.socket) -> tuple[bytes, list[int]]:
    """Fork a process for each request, in which this returns the request and its descriptors.

    Another fork waits for each process, and reports its number and its status.
    """
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, 2**20, 3)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not message:
            sys.exit()
        if os.fork() == 0:
            child = os.fork()
            if child == 0:
                return message, descriptors
            with suppress(OSError):  # the tests have ended
                *others, report = descriptors
                for descriptor in others:
                    os.close(descriptor)
                os.write(report, NUMBER.pack(child))
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                os.write(report, NUMBER.pack(status))
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def become(request: bytes, descriptors: list[int]) -> None:
    """Run the command of ``request`` with the first two descriptors as its output."""
    (option, *arguments), cwd, environment, new_session = json.loads(request)
    if new_session:
        os.setsid()
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(descriptors[number - 1], number)  # the template's stream may have been seekable
        setattr(sys, name, os.fdopen(number, "w", 1, encoding="utf-8"))
    os.closerange(3, 1024)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    sys.argv = arguments
    if option == "-m":
        sys.path[0] = cwd
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    elif option == "-c":
        source, sys.argv[0], sys.path[0] = sys.argv[0], "-c", ""
        exec(compile(source, "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv.insert(0, option)
        sys.path[0] = str(Path(option).resolve().parent)
        runpy.run_path(option, run_name="__main__")


if __name__ == "__main__":
    import torch._dynamo  # imported when a checkpoint is loaded

    import arc.api
    import arc.evaluate
    import arc.server.process  # noqa: F401

    gc.freeze()  # or each fork would spend seconds on collecting what the template has imported
    become(*forked(socket.socket(fileno=int(sys.argv[1]))))
