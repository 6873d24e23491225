"""First import of every Python process below the app: connections to the outside are refused and written down in $LEP_OUTSIDE."""

import os
import socket


def _is_outside(address):
    host = address[0] if isinstance(address, tuple) else ""
    return bool(host) and not (str(host).startswith("127.") or host in ("::1", "localhost", "0.0.0.0", "::", socket.gethostname()))


def _note(what):
    with open(os.environ["LEP_OUTSIDE"], "a", encoding="utf-8") as stream:
        stream.write(f"{os.getpid()} {what!r}\n")


def _guarded(name):
    original = getattr(socket.socket, name)

    def connect(self, address):
        if _is_outside(address):
            _note(address)
            raise OSError("no connection to the outside is allowed here")
        return original(self, address)

    return connect


def _lookup(host, *more, **named):
    if host is not None and _is_outside((host if isinstance(host, str) else host.decode(),)):
        _note(host)
        raise socket.gaierror("no name of the outside is looked up here")
    return _getaddrinfo(host, *more, **named)


if "LEP_OUTSIDE" in os.environ:
    socket.socket.connect, socket.socket.connect_ex = _guarded("connect"), _guarded("connect_ex")
    _getaddrinfo, socket.getaddrinfo = socket.getaddrinfo, _lookup
