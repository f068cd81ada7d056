"""What a client is made of: arguments that fit each other, tokens that are not shown, TLS."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from remotemedia.client import PipelineClient
from remotemedia.core.multiprocessing import ServiceUnavailableError

pytestmark = pytest.mark.usefixtures("leak_check")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": ""}, "target must be a host and a port"),
        ({"token": ""}, "token must be visible ASCII characters without spaces"),
        ({"token": "a\nb"}, "token must be visible ASCII characters without spaces"),
        ({"tls_ca": "a", "tls_key": "b"}, "tls_certificate and tls_key belong together"),
        ({"tls_certificate": "a", "tls_key": "b"}, "tls_certificate needs tls_ca"),
        ({"max_message_bytes": 1000}, "max_message_bytes must be a whole number from 65537 to"),
    ],
)
def test_wrong(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PipelineClient(**arguments)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.pem"):
        PipelineClient(tls_ca=tmp_path / "no.pem")


def test_a_token_is_not_shown() -> None:
    client = PipelineClient("here:1", token="secret")
    assert repr(client) == "<PipelineClient here:1>"


def self_signed() -> tuple[bytes, bytes]:
    """A certificate for 127.0.0.1, and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "service")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    return certificate.public_bytes(pem), key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)


def test_tls(px: Any, start_service: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("service", "other"):
        (tmp_path / f"{name}.pem").write_bytes((made := self_signed())[0])
        (tmp_path / f"{name}.key").write_bytes(made[1])
    own, key, other = (str(tmp_path / name) for name in ("service.pem", "service.key", "other.pem"))
    service = start_service(tls_certificate=own, tls_key=key, tls_client_ca=own)

    async def main() -> None:
        async with PipelineClient(service.target, tls_ca=own, tls_certificate=own, tls_key=key) as client:
            assert (await client.version()).protocol == "v1"
        for arguments in ({"tls_ca": own}, {"tls_ca": other, "tls_certificate": own, "tls_key": key}, {}):
            async with PipelineClient(service.target, **arguments) as client:
                with pytest.raises(ServiceUnavailableError):
                    await client.version()

    px.run(main())
