"""The `gcloud` of a rehearsal: hands its command to the server, and ends as the command ends.

A script of its own, run by a bare interpreter in 15 ms: `python -I -S client.py ADDRESS PROGRAM ARGUMENT…`.
"""

import json
import os
import signal
import socket
import struct
import sys


def main(address: str, program: str, arguments: list[str]) -> None:
    """Have a command run by the server; where there is none, become the real gcloud.

    Args:
        address: path of the server's socket.
        program: path of the real gcloud.
        arguments: of the command.
    """
    request = {"arguments": arguments, "environment": dict(os.environ), "directory": os.getcwd()}
    body = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(address)
            socket.send_fds(server, [struct.pack("!I", len(body))], [0, 1, 2])
            server.sendall(body)
            started = server.recv(1)
        except OSError:
            started = b""
        if not started:
            os.execv(program, [program, *arguments])  # noqa: S606 - there is no shell to want
        answer = server.recv(4, socket.MSG_WAITALL)
    if len(answer) < 4:
        sys.exit("gcloud: the rehearsal's server ended before the command")
    (code,) = struct.unpack("!i", answer)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
