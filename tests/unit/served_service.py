"""Services as the runner starts them: their command lines and environments, real uvicorn, logs. No MySQL server is needed."""

import contextlib
import datetime
import ipaddress
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from free_ports import free_port_offset

import local_process
from cluster_layout import BY_NAME, ROOT, Layout

START_S = 30.0
SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
"""Python 3.13 trusts no CA that does not say so."""


class Services:
    """Those of one cluster's folder."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        """`settings`: tokens and certificates, and whatever else is to stand in the environment."""
        self.layout = Layout(folder, free_port_offset())
        folder.mkdir(exist_ok=True)
        self._settings = {**os.environ, **settings}
        self._settings |= self.layout.access(self._settings, is_running=False)

    @contextlib.contextmanager
    def run(self, name: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """Until it answers; `options` are uvicorn's. Its log is all that it said."""
        passwords = {key: f"{key}-of-the-test" for key in BY_NAME[name].passwords}
        log = self.layout.log(name)
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*self.layout.service_command(name, Path(sys.executable)), *options],
                env=self.layout.service_environment(name, self._settings, passwords),
                cwd=ROOT,
                stdout=output,
                stderr=output,
            )
        try:
            self._wait(name, process)
            yield process
        finally:
            process.terminate()
            process.wait(START_S)

    def _wait(self, name: str, process: subprocess.Popen[bytes]) -> None:
        deadline_s = time.monotonic() + START_S
        port = self.layout.port(name)
        while local_process.http_health(port, with_tls=self.layout.has_tls) is None:
            assert process.poll() is None, self.layout.log(name).read_text()
            assert time.monotonic() < deadline_s, self.layout.log(name).read_text()
            time.sleep(0.02)  # a starting process tells nobody: asked again


def make_certificates(folder: Path, names: Sequence[str] = (), address: str = "127.0.0.1") -> dict[str, str]:
    """A CA's certificate (ca.crt), one that it signed for localhost, the address and the names (server.crt), and its key; as
    settings."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = _named("the test's CA")
    ca = (
        _certificate(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(SIGNS_CERTIFICATES, critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    where = [*map(x509.DNSName, ("localhost", *names)), x509.IPAddress(ipaddress.ip_address(address))]
    server = (
        _certificate(_named("a service"), ca_name, key.public_key())
        .add_extension(x509.SubjectAlternativeName(where), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    files = {name: folder / name for name in ("ca.crt", "server.crt", "server.key")}
    files["ca.crt"].write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    files["server.crt"].write_bytes(server.public_bytes(serialization.Encoding.PEM))
    files["server.key"].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return {
        "UVICORN_SSL_CERTFILE": str(files["server.crt"]),
        "UVICORN_SSL_KEYFILE": str(files["server.key"]),
        "SSL_CERT_FILE": str(files["ca.crt"]),
    }


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
