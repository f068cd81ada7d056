"""TLS and mutual TLS with real certificates, and each mistake in their files before anything listens."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc")
pytest.importorskip("cryptography")

import grpc
import grpc.aio
import remotemedia_v1_pb2 as pb
import remotemedia_v1_pb2_grpc as pb_grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from remotemedia.errors import ConfigurationError
from remotemedia.service._tls import server_credentials
from remotemedia.service.config import ServiceConfig
from remotemedia.service.server import Service

pytestmark = pytest.mark.usefixtures("leak_check")


class Authority:
    """Somebody who vouches for others."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._signed(self.name, self.key, x509.BasicConstraints(ca=True, path_length=None))
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str) -> tuple[bytes, bytes]:
        """A certificate and its key, in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(subject, key, addresses)
        return certificate.public_bytes(serialization.Encoding.PEM), pem(key, serialization.NoEncryption())

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: Any) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        builder = x509.CertificateBuilder(self.name, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - day).not_valid_after(now + day)
        return builder.add_extension(extension, critical=True).sign(self.key, hashes.SHA256())


def pem(key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good and bad files."""
    folder = tmp_path_factory.mktemp("tls")
    authority, clients, stranger = Authority("services"), Authority("clients"), Authority("stranger")
    (folder / "ca.pem").write_bytes(authority.pem)
    (folder / "clients.pem").write_bytes(clients.pem)
    for name, issuer in (("server", authority), ("other", authority), ("app one", clients), ("stranger", stranger)):
        certificate, key = issuer.issue(name)
        (folder / f"{name}.pem").write_bytes(certificate)
        (folder / f"{name}.key").write_bytes(key)
    locked = pem(ec.generate_private_key(ec.SECP256R1()), serialization.BestAvailableEncryption(b"password"))
    (folder / "locked.key").write_bytes(locked)
    (folder / "text").write_text("this is no PEM")
    (folder / "empty").touch()
    (folder / "broken.pem").write_bytes(authority.pem[:200] + b"\n-----END CERTIFICATE-----\n")
    return folder


def settings(files: Path, certificate: str = "server.pem", key: str = "server.key", ca: str | None = None) -> Any:
    values = {"tls_certificate": str(files / certificate), "tls_key": str(files / key)}
    return values if ca is None else {**values, "tls_client_ca": str(files / ca)}


@pytest.mark.parametrize(
    ("names", "problems"),
    [
        (("none.pem",), ["{}/none.pem: tls_certificate: cannot be read: No such file or directory"]),
        (("server.pem", "none.key"), ["{}/none.key: tls_key: cannot be read: No such file or directory"]),
        ((".",), ["{}: tls_certificate: is not a file"]),
        (("text",), ["{}/text: tls_certificate: holds no certificate in PEM form"]),
        (("empty",), ["{}/empty: tls_certificate: holds no certificate in PEM form"]),
        (("broken.pem",), ["{}/broken.pem: tls_certificate: holds no certificate in PEM form"]),
        (("server.key",), ["{}/server.key: tls_certificate: holds no certificate in PEM form"]),
        (("server.pem", "text"), ["{}/text: tls_key: holds no private key in PEM form"]),
        (("server.pem", "server.pem"), ["{}/server.pem: tls_key: holds no private key in PEM form"]),
        (("server.pem", "other.key"), ["{}/other.key: tls_key: is not the key of the certificate in {}/server.pem"]),
        (("server.pem", "locked.key"), ["{}/locked.key: tls_key: is encrypted with a password: the service needs"]),
        (("server.pem", "server.key", "text"), ["{}/text: tls_client_ca: holds no certificate in PEM form"]),
        (
            ("none.pem", "none.key", "none.ca"),
            ["{}/none.pem: tls_certificate", "{}/none.key: tls_key", "{}/none.ca: tls_client_ca"],
        ),
        (("server.pem", "text", "text"), ["{}/text: tls_key: holds no", "{}/text: tls_client_ca: holds no"]),
    ],
)
def test_wrong_files(files: Path, names: tuple[str, ...], problems: list[str]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        server_credentials(ServiceConfig(**settings(files, *names)))
    assert len(raised.value.problems) == len(problems)
    for found, expected in zip(raised.value.problems, problems, strict=True):
        assert str(found).startswith(expected.replace("{}", str(files)))


def test_no_tls() -> None:
    assert server_credentials(ServiceConfig()) is None


def trusting(files: Path, own: str | None = None) -> grpc.ChannelCredentials:
    """What a client knows: the service's authority, and maybe a certificate of its own."""

    def read(name: str) -> bytes:
        return (files / name).read_bytes()

    pair = (None, None) if own is None else (read(f"{own}.key"), read(f"{own}.pem"))
    return grpc.ssl_channel_credentials(read("ca.pem"), *pair)


@pytest.mark.parametrize(
    ("ca", "credentials", "client"),
    [
        (None, trusting, "127.0.0.1"),
        (None, lambda files: trusting(files, "app one"), "127.0.0.1"),  # unasked, its name means nothing
        ("clients.pem", lambda files: trusting(files, "app one"), "certificate:app?one"),
        ("clients.pem", trusting, None),
        ("clients.pem", lambda files: trusting(files, "stranger"), None),
        ("clients.pem", lambda files: trusting(files, "server"), None),
        (None, lambda files: grpc.ssl_channel_credentials((files / "clients.pem").read_bytes()), None),
    ],
)
def test_real_clients(gated: Any, files: Path, ca: str | None, credentials: Callable[..., Any], client: Any) -> None:
    async def main() -> None:
        async with (
            gated.serve(**settings(files, ca=ca)) as (server, port),
            grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials(files)) as channel,
        ):
            call = gated.caller(channel)("hold")
            if client is None:
                assert (await gated.status_of(call))[0] == "UNAVAILABLE"
                return
            await server.wait_held(1)
            assert list(server.gate.limits._by_client) == [client]
            server.free()
            assert await gated.status_of(call) == ("OK", "")

    asyncio.run(main())


def test_a_client_without_tls(gated: Any, files: Path) -> None:
    async def main() -> None:
        async with (
            gated.serve(**settings(files)) as (_, port),
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            assert (await gated.status_of(gated.caller(channel)("")))[0] == "UNAVAILABLE"

    asyncio.run(main())


def test_a_token_names_a_client_before_its_certificate(gated: Any, files: Path) -> None:
    async def main() -> None:
        async with (
            gated.serve(**settings(files, ca="clients.pem"), tokens=("secret-1",)) as (server, port),
            grpc.aio.secure_channel(f"127.0.0.1:{port}", trusting(files, "app one")) as channel,
        ):
            assert (await gated.status_of(gated.caller(channel)("")))[0] == "UNAUTHENTICATED"
            call = gated.caller(channel)("hold", token="secret-1")
            await server.wait_held(1)
            (client,) = server.gate.limits._by_client
            assert client.startswith("token:")
            server.free()
            await call

    asyncio.run(main())


def test_the_whole_service(files: Path) -> None:
    async def main() -> None:
        async with (
            Service(ServiceConfig(port=0, **settings(files, ca="clients.pem"))) as service,
            grpc.aio.secure_channel(f"127.0.0.1:{service.port}", trusting(files, "app one")) as known,
            grpc.aio.secure_channel(f"127.0.0.1:{service.port}", trusting(files)) as nobody,
        ):
            answer = await pb_grpc.PipelineExecutionServiceStub(known).GetVersion(pb.VersionRequest())
            assert answer.compatible
            with pytest.raises(grpc.aio.AioRpcError):
                await pb_grpc.PipelineExecutionServiceStub(nobody).GetVersion(pb.VersionRequest())
        with pytest.raises(ConfigurationError, match="is not the key of the certificate"):
            await Service(ServiceConfig(port=0, **settings(files, key="other.key"))).start()

    asyncio.run(main())
