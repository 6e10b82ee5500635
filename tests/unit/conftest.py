"""What tests of several rooms share: a local archive, as well-behaved as a test wants it, and a way to be killed."""

import os
import signal
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hardfold import download


def stall(handler):
    """Half an answer, then silence."""
    _begin(handler)
    handler.server.stopped.wait(30)


def reset(handler):
    """Half an answer, then the connection is reset."""
    _begin(handler)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def _begin(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(bytes(500))
    handler.wfile.flush()


# What an archive may do -> its reply, and what an error then says.
FAULTS = {
    "500": ((500, {}, b""), "HTTP status 500"),
    "429": ((429, {"Retry-After": "7"}, b""), "HTTP status 429, asks to wait 7 s"),
    "stalls": (stall, "timed out"),
    "truncates": ((200, {"Content-Length": "1000"}, bytes(500)), "500 bytes read, 500 more expected"),
    "truncates without a length": ((200, {"Content-Length": None}, bytes(500)), "broken gzip|no \\.pt file"),
    "sends HTML": ((200, {"Content-Type": "text/html"}, b"<html>login</html>"), "broken gzip|no \\.pt file"),
    "resets": (reset, "reset by peer"),
}


@pytest.fixture(params=FAULTS)
def archive_fault(request, monkeypatch):
    """(reply, what an error says) of each thing that an archive may do."""
    if request.param == "stalls":
        monkeypatch.setattr(download, "TIMEOUT", (5, 0.2))
    return FAULTS[request.param]


@pytest.fixture
def server(monkeypatch):
    """A local archive: `replies` maps a path to replies (status, headers, body) or functions of the handler, the last
    one repeated; `asked` are the paths asked for.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            queue = self.server.replies.get(self.path, [(404, {}, b"")])
            reply = queue.pop(0) if len(queue) > 1 else queue[0]
            if callable(reply):
                reply(self)
            else:
                self.answer(*reply)

        def answer(self, status, headers, body):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def finish(self):
            if self.connection.fileno() >= 0:  # unless it was reset
                super().finish()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.replies, server.asked, server.stopped = {}, [], threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.stopped.set()
        server.shutdown()


@pytest.fixture
def waits(monkeypatch):
    """The seconds that `download.fetch` would have slept."""
    slept = []
    monkeypatch.setattr(download.fetch.retry, "sleep", slept.append)
    return slept


@pytest.fixture
def kill_in_step():
    """Run `call` in a process of its own that is killed, without any farewell, in the `step`-th training_step of
    `module`, a class, or the `step`-th call of another function of it by `name`."""

    def kill(module, call, step, name="training_step"):
        child = os.fork()
        if child == 0:
            function, count = getattr(module, name), iter(range(1, 1000))

            def deadly(*arguments):
                if next(count) == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments)

            setattr(module, name, deadly)
            try:
                call()
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    return kill


@pytest.fixture
def two_nodes(monkeypatch):
    """As in a job of Slurm with as many machines as a step asks for; all are this one."""
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("PATH", str(Path(__file__).with_name("two_nodes")), prepend=os.pathsep)
