"""A web app that answers questions about itself, on the standard library alone."""

import base64
import hashlib
import json
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

WORD = "one"
FIRST_FD = 3
WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def reach(host, port):
    """What comes of a request: the error's name, or `answered`."""
    try:
        with socket.create_connection((host, int(port)), timeout=5) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return "answered" if sock.recv(1) else "closed"
    except OSError as error:
        return type(error).__name__


def echo(host, port, size):
    """How many bytes come back of so many that are sent to an echo."""
    back = 0
    with socket.create_connection((host, port), timeout=30) as sock:
        threading.Thread(target=sock.sendall, args=(b"x" * size,)).start()
        while back < size:
            part = sock.recv(65536)
            if not part:
                break
            back += len(part)
    return back


class Handler(BaseHTTPRequestHandler):
    """One method per question."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Dispatches by the first segment."""
        url = urlsplit(self.path)
        ask = getattr(self, "ask_" + url.path.strip("/").replace("-", "_"), self.ask_)
        ask({name: values[0] for name, values in parse_qs(url.query).items()})

    def do_POST(self):
        """Gives the value of a Python expression on `/value`, else takes an upload."""
        if self.path == "/value":
            code = self.rfile.read(int(self.headers["Content-Length"])).decode()
            try:
                self.say(str(eval(code)))
            except Exception as error:
                self.say(f"{type(error).__name__}: {error}")
        elif "chunked" in self.headers.get("Transfer-Encoding", ""):
            self.say("chunks")
            self.close_connection = True
        else:
            self.take()

    def take(self):
        """Gives back the length and hash of the body, read as it comes."""
        left, digest = int(self.headers.get("Content-Length", "0")), hashlib.sha256()
        length = left
        while left:
            part = self.rfile.read(min(left, 65536))
            digest.update(part)
            left -= len(part)
        self.say(f"{length} {digest.hexdigest()}")

    def ask_(self, _):
        """The word that edits change."""
        self.say(WORD)

    def ask_pid(self, _):
        """Its number, as it sees it, and where its socket came from."""
        self.say(json.dumps({"pid": os.getpid(), "passed": "LISTEN_FDS" in os.environ}))

    def ask_about(self, _):
        """User, limits, capabilities, environment."""
        with open("/proc/self/status", encoding="ascii") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        self.say(json.dumps({"status": status, "env": dict(os.environ), "cwd": os.getcwd()}))

    def ask_head(self, _):
        """The request as it came."""
        self.say(f"{self.requestline}\n{self.headers}")

    def ask_reach(self, query):
        """Whether something answers at an address."""
        self.say(reach(query["host"], query["port"]))

    def ask_stream(self, _):
        """Three chunks, each only after the last was on its way for a while."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for word in (b"one", b"two", b"three"):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(word), word))
            self.wfile.flush()
            time.sleep(0.3)
        self.wfile.write(b"0\r\n\r\n")

    def ask_websocket(self, _):
        """Echoes one short text frame."""
        key = self.headers["Sec-WebSocket-Key"].encode() + WEBSOCKET
        accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        _, length = self.rfile.read(2)
        mask, data = self.rfile.read(4), self.rfile.read(length & 0x7F)
        text = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        self.wfile.write(bytes([0x81, len(text)]) + text)
        self.close_connection = True

    def ask_eat(self, _):
        """Takes memory until stopped."""
        taken = []
        while True:
            taken.append(bytearray(16 << 20))

    def ask_die(self, _):
        """Ends at once."""
        os._exit(7)

    def say(self, text):
        """200 and a line of text."""
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        """No look-up of names."""
        return str(self.client_address[0]) if self.client_address else "-"


def main():
    """Serves until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if sys.argv[1:] == ["work"]:
        print("working", flush=True)
        time.sleep(100_000)
    if "LISTEN_FDS" in os.environ:
        sock = socket.socket(fileno=FIRST_FD)
    else:
        sock = socket.create_server(("0.0.0.0", int(os.environ["PORT"])))
    server = ThreadingHTTPServer(sock.getsockname()[:2], Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = sock
    print("serving", WORD, flush=True)
    print("a line on standard error", file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
