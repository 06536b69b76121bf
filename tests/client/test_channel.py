"""Which gate a session connects to: names, proxies, certificates, keys; faults told at once."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from fake_gate import IMAGES

from client.channel import Endpoint, system_roots
from client.session import Refused, Session, Unreachable
from server.authentication import ApiKeys
from server.serve import Tls

SOON = 5.0  # seconds, where the time-out is 60


@pytest.fixture(autouse=True)
def unproxied(monkeypatch):
    """Other hosts are looked up by the tests themselves, whatever proxy this machine has."""
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def secure(gate_with, certificates):
    """Starts gates under TLS; yields their port."""

    def gate(name="localhost", **options):
        return gate_with(tls=Tls.read(*certificates(name)), **options)

    return gate


def ask(target, **options):
    with Session(target, **{"client_id": "anne", "solver": "python", **options}) as session:
        assert session.predict(IMAGES).shape == (2, 3)


def local(gate):
    """A gate by name."""
    return f"localhost:{gate.address.rpartition(':')[2]}"


LOOPBACK = ["localhost:1", "LOCALHOST:1", "gate.localhost:1", "127.0.0.1:1", "127.9.9.9:1"]
LOOPBACK += ["[::1]:1", "[::ffff:127.0.0.1]:1"]
ELSEWHERE = ["localhost.:1", "gate.localhost.:1"]  # gRPC asks the network for these
ELSEWHERE += ["gate.example:1", "localhost.example:1", "10.0.0.1:1", "0.0.0.0:1", "[2001:db8::1]:1"]
NONE = ["", "gate", "gate:", ":1", "gate:0", "gate:65536", "gate:1x", "::1:5", "[gate]:1", "a b:1"]
NONE += ["http://gate:1", "gate:1/path", "gäte.example:1", None, 5]


@pytest.mark.parametrize("target", LOOPBACK + ELSEWHERE + NONE)
def test_what_is_a_target_and_on_this_machine(target):
    if target in NONE:
        with pytest.raises(ValueError, match="expected HOST:PORT"):
            Session(target, client_id="anne")
    else:
        endpoint = Endpoint.parse(target)
        assert (endpoint.loopback, endpoint.target) == (target in LOOPBACK, target)


@pytest.mark.parametrize("target", ["10.0.0.1:1", "gate.example:1"])
def test_a_key_does_not_travel_in_clear(target, own_certificate):
    with pytest.raises(ValueError, match=r"in clear; expected tls=True, ca=… or") as caught:
        Session(target, key="k3y")
    assert "k3y" not in str(caught.value)
    for meant in ({"insecure": True}, {"tls": True}, {"ca": own_certificate}):
        Session(target, key="k3y", **meant).close()
    Session(target, client_id="anne").close()
    Session("127.0.0.1:1", key="k3y").close()
    for other in ({"tls": True}, {"ca": own_certificate}):
        with pytest.raises(ValueError, match="insecure is given with tls or ca"):
            Session(target, key="k", insecure=True, **other)


@pytest.mark.parametrize(
    "key", ["k\n", "\nk", "k\r\nx: y", " k", "k ", "", "kéy", "k\x00", "k\x7f", "k" * 5000, b"k", 5]
)
@pytest.mark.parametrize("what", ["key", "client_id"])
def test_a_key_that_no_header_carries(what, key):
    with pytest.raises(ValueError, match=f"{what} (has|is)") as caught:
        Session("127.0.0.1:1", **{what: key})
    assert "kéy" not in str(caught.value)


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
def test_nothing_on_this_machine_goes_through_a_proxy(gate, monkeypatch, variable):
    monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody there
    ask(gate.address, timeout=5)


def test_another_host_is_reached_through_the_proxy(monkeypatch):
    # As gRPC does everywhere, and what the user of a proxy needs.
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        heard = []

        def listen():
            connection, _ = proxy.accept()
            with connection:
                heard.append(connection.recv(99))

        listening = threading.Thread(target=listen)
        listening.start()
        with pytest.raises(Unreachable):
            ask("gate.invalid:50051", timeout=1.0)
        listening.join(10)
    assert heard[0].startswith(b"CONNECT gate.invalid:50051")


def test_a_name_of_many_addresses_is_looked_at_no_longer_than_one_of_one(monkeypatch):
    # Who owns a name says how many addresses it has; most of them need not answer.
    class Silent(socket.socket):
        def connect(self, place):
            time.sleep(self.gettimeout())
            raise TimeoutError

    def addresses(host, port, *args, **options):
        hosts = [f"192.0.2.{n}" for n in range(40)] if host == "gate.example" else [host]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    monkeypatch.setattr(socket, "socket", Silent)
    began = time.monotonic()
    assert Endpoint.parse("gate.example:1").fault(0.1) is None
    assert time.monotonic() - began < 1.0


def test_a_gate_that_is_not_up_yet_is_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    assert Endpoint.parse(address).fault(1.0) is None


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("gate.invalid", r"gate\.invalid cannot be resolved: Name or service"),
        *((h, "no host name") for h in ("gate..example", ".example", "g" * 64 + ".example")),
    ],
)
def test_a_name_that_nobody_knows_is_told_at_once(monkeypatch, host, message):
    resolve = socket.getaddrinfo

    def unknown(name, *args, **options):
        if name != "gate.invalid":
            return resolve(name, *args, **options)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    began = time.monotonic()
    with pytest.raises(Unreachable, match=message):
        ask(f"{host}:50051")
    assert time.monotonic() - began < SOON


def test_a_host_is_not_taken_for_a_scheme(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_insecure_port(f"unix:{tmp_path}/50051")
    server.start()
    try:
        with Endpoint.parse("unix:50051").open() as channel, pytest.raises(grpc.FutureTimeoutError):
            grpc.channel_ready_future(channel).result(timeout=0.5)
    finally:
        server.stop(None).wait()


def test_certificates_that_are_refused_are_told_at_once(secure, certificates):
    ca, other = certificates("gate.example")[0], certificates("other")[0]
    began = time.monotonic()
    with secure("gate.example", hosts=("gate.example",)) as gate:
        target = local(gate)
        with pytest.raises(Unreachable, match=r"certificate of localhost:\d+ is refused: self"):
            ask(target, ca=other)
        with pytest.raises(Unreachable, match="is refused: Hostname mismatch"):
            ask(target, ca=ca)
        ask(target, ca=ca, name="gate.example")
    assert time.monotonic() - began < SOON


def test_tls_and_clear_text_that_meet_are_told_at_once(gate, secure, own_certificate):
    with pytest.raises(Unreachable, match="does not speak TLS"):
        ask(gate.address, ca=own_certificate)
    speaks = pytest.raises(Unreachable, match="speaks TLS; give ca, or tls=True")
    with secure() as other, speaks:
        ask(other.address)


@pytest.mark.parametrize("content", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_certificates_of_nobody(tmp_path, content, monkeypatch):
    (tmp_path / "ca.pem").write_text(content)
    with pytest.raises(ValueError, match=r"ca\.pem holds no PEM certificate"):
        Session("localhost:1", client_id="anne", ca=tmp_path / "ca.pem")
    with pytest.raises(FileNotFoundError):
        Session("localhost:1", client_id="anne", ca=tmp_path / "none.pem")
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "no"))
    with pytest.raises(ValueError, match="set SSL_CERT_FILE, or give ca"):
        system_roots()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_tls_trusts_what_the_system_trusts(secure, own_certificate, tmp_path, monkeypatch, kind):
    (tmp_path / "0123abcd.0").write_bytes(own_certificate.read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(own_certificate if kind == "file" else tmp_path / "no"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path if kind == "folder" else tmp_path / "no"))
    keys = ApiKeys({"anne": "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"})
    with secure(authenticator=keys) as gate:
        ask(local(gate), key="key", client_id=None, tls=True)
        with pytest.raises(Refused, match="UNKNOWN_KEY"):
            ask(local(gate), key="other", client_id=None, tls=True)
