"""A web server on a socket it is given: file descriptor 3, by the LISTEN_FDS convention.

The socket stays open while the program is replaced, so no connection is refused meanwhile. With
no socket passed it listens on $PORT, to be tried out by hand.
"""

import os
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FIRST_FD = 3


def listening_socket():
    """The passed socket, else a new one on $PORT."""
    if int(os.environ.get("LISTEN_FDS", "0")) >= 1:
        return socket.socket(fileno=FIRST_FD)
    return socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "8080"))))


class Handler(BaseHTTPRequestHandler):
    """Answers every GET with a line of text."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """GET."""
        origin = "a passed socket" if "LISTEN_FDS" in os.environ else "$PORT"
        body = f"Hello from process {os.getpid()} on {origin}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        """The client's address as it is: no look-up of names."""
        return str(self.client_address[0]) if self.client_address else "-"


def main():
    """Serve until SIGTERM."""
    sock = listening_socket()
    server = ThreadingHTTPServer(sock.getsockname()[:2], Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = sock
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("serving", sock.getsockname(), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
