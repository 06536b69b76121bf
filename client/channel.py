"""The connection to a gate: endpoint, credentials, TLS, and faults that no waiting mends.

A channel to this machine never goes through a proxy. One to another host does where the environment
says so (`https_proxy`, `http_proxy`, `grpc_proxy`, and `no_proxy` for exceptions), as gRPC does
everywhere.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import grpc

from core.environment import DIRECT

MAX_MESSAGE = 64 * 2**20
"""Bytes of an answer, at most."""

MAX_KEY = 4096
"""Characters of an API key or a client id, at most."""

_PROBE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """HOST:PORT of a gate. `name` is its public name, where it is not dialled by that."""

    host: str
    port: int
    roots: bytes | None = None  # PEM, trusted to sign its certificate; None: no TLS
    name: str | None = None

    @classmethod
    def parse(cls, target: str, roots: bytes | None = None, name: str | None = None) -> Endpoint:
        """Raises ValueError for anything but HOST:PORT, [IPv6]:PORT."""
        wrong = f"target is {target!r}; expected HOST:PORT, such as gate.example:50051"
        if not isinstance(target, str):
            raise ValueError(wrong)
        host, _, port = target.rpartition(":")
        if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 1 << 16:
            raise ValueError(wrong)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            if not isinstance(_ip(host), ipaddress.IPv6Address):
                raise ValueError(wrong)
        elif not re.fullmatch(r"[A-Za-z0-9._-]{1,253}", host):
            raise ValueError(wrong)
        if name is not None and not re.fullmatch(r"[A-Za-z0-9.:_-]{1,253}", name):
            raise ValueError(f"name is {name!r}; expected a host name, such as gate.example")
        return cls(host, int(port), roots, name)

    @property
    def target(self) -> str:
        """HOST:PORT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether it is on this machine, by its name or address.

        `localhost.` may be another: with the dot at its end gRPC asks the network who that is.
        """
        address = _ip(self.host)
        if address is None:
            return self.host.lower().split(".")[-1] == "localhost"
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback

    def open(self) -> grpc.Channel:
        """A channel to it."""
        # with a scheme, so that gRPC takes no host for one: `unix:1` would be a file
        target = f"dns:///{self.target}"
        options: list[tuple[str, str | int]] = [("grpc.max_receive_message_length", MAX_MESSAGE)]
        if self.loopback:
            options.extend(DIRECT)
        if self.roots is None:
            return grpc.insecure_channel(target, options)
        if self.name is not None:
            options.append(("grpc.ssl_target_name_override", self.name))
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(self.roots), options)

    def fault(self, seconds: float) -> str | None:
        """Why no channel to it will ever open: an unknown name, a refused certificate.

        None where it may only be away. Asked of the network itself, as gRPC says no more than that
        it failed; takes `seconds` at most, or what looking up a name takes.
        """
        if not self.loopback and _proxied(self.host):
            return None
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            return f"{self.host} cannot be resolved: {error.strerror}"
        except UnicodeError:  # an empty label, or one of more than 63 characters
            return f"{self.host} cannot be resolved: it is no host name"
        end = time.monotonic() + min(seconds, _PROBE_SECONDS)  # of all its addresses
        for *_, place in found:
            left = end - time.monotonic()
            if left <= 0:
                return None
            try:
                with socket.create_connection((str(place[0]), self.port), left) as raw:
                    raw.settimeout(max(0.01, end - time.monotonic()))
                    return self._handshake_fault(raw)
            except (OSError, ValueError):
                continue
        return None

    def _handshake_fault(self, raw: socket.socket) -> str | None:
        context = _trusting(self.roots)
        context.set_alpn_protocols(["h2"])
        try:
            context.wrap_socket(raw, server_hostname=self.name or self.host).close()
        except ssl.SSLCertVerificationError as error:
            return f"the certificate of {self.target} is refused: {error.verify_message}"
        except ssl.SSLError as error:
            plain = error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
            return f"{self.target} does not speak TLS" if self.roots and plain else None
        if self.roots is None:
            return f"{self.target} speaks TLS; give ca, or tls=True for the system's roots"
        return None


def endpoint(
    target: str, *, keyed: bool, ca: Path | str | None, tls: bool, insecure: bool, name: str | None
) -> Endpoint:
    """The endpoint of a gate and the certificates to trust. Raises OSError, and ValueError.

    A key is sent in clear to this machine only, or with `insecure`.
    """
    if insecure and (tls or ca is not None):
        raise ValueError("insecure is given with tls or ca; expected one or the other")
    roots = None
    if ca is not None:
        roots = read_roots(ca)
    elif tls:
        roots = system_roots()
    found = Endpoint.parse(target, roots, name)
    if keyed and roots is None and not (insecure or found.loopback):
        raise ValueError(
            f"the API key would go to {found.host} in clear; expected tls=True, ca=… or, if that "
            "is meant, insecure=True"
        )
    return found


def credentials(key: str | None, client_id: str | None) -> tuple[tuple[str, str], ...]:
    """Metadata with the credentials. Raises ValueError; the text never holds the key."""
    if (key is None) == (client_id is None):
        raise ValueError("give either an API key or a client id")
    name, given = ("key", key) if client_id is None else ("client_id", client_id)
    if not isinstance(given, str):
        raise ValueError(f"{name} is a {type(given).__name__}; expected text")
    if not re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", given) or len(given) > MAX_KEY:
        raise ValueError(
            f"{name} has {len(given)} characters, some of which no header carries; expected "
            f"1 to {MAX_KEY} of printable ASCII, without a newline or blanks around it"
        )
    return ((("authorization", f"Bearer {given}") if name == "key" else ("client-id", given)),)


def read_roots(ca: Path | str) -> bytes:
    """Certificates of a PEM file. Raises OSError, and ValueError where none are in it."""
    found = Path(ca).read_bytes()
    try:
        _trusting(found)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"{ca} holds no PEM certificate to trust: {error}") from error
    return found


def system_roots() -> bytes:
    """The certificates that this system trusts, PEM: where OpenSSL looks for them.

    gRPC would take a list of its own. Raises ValueError where there are none.
    """
    paths = ssl.get_default_verify_paths()
    if paths.cafile is not None:
        return Path(paths.cafile).read_bytes()
    if paths.capath is not None:
        hashed = sorted(Path(paths.capath).glob("*.[0-9]"))
        if hashed:
            return b"\n".join(path.read_bytes() for path in hashed)
    known = ssl.create_default_context().get_ca_certs(binary_form=True)  # of macOS, of Windows
    if not known:
        raise ValueError("this system has no certificates to trust; set SSL_CERT_FILE, or give ca")
    return "".join(map(ssl.DER_cert_to_PEM_cert, known)).encode()


def plain_name(host: str) -> str:
    """Normalises a host name or address: lower case, addresses in their short form."""
    address = _ip(host)
    return host.lower().rstrip(".") if address is None else str(address)


def _trusting(roots: bytes | None) -> ssl.SSLContext:
    """An SSL context that trusts these certificates; without any, it verifies nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if roots is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    else:  # what stands around a certificate may be in any language
        context.load_verify_locations(cadata=roots.decode("ascii", "ignore"))
    return context


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _proxied(host: str) -> bool:
    proxies = urllib.request.getproxies()
    named = any(kind in proxies for kind in ("grpc", "https", "http"))
    return named and not urllib.request.proxy_bypass(host)
