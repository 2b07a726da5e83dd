"""The serve command as an operator starts it for other machines: keys, TLS, and a clean end."""

import datetime
import ipaddress
import os
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from serve_app.keys import Key, digest_of, write_keys
from serve_app.schemas import ErrorResponse
from tests.e2e.conftest import free_port
from tests.fakes import photo_bytes

pytestmark = pytest.mark.slow

_COMMAND = [sys.executable, "-c", "from serve_app.cli import main; main()"]
_KEY = "shop-secret"


@dataclass(frozen=True)
class Served:
    """A running command, and the certificate it shows."""

    process: subprocess.Popen[str]
    url: str
    certificate: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    keys = folder / "api-keys.yaml"
    write_keys(keys, [Key(name="shop", sha256=digest_of(_KEY))])
    certificate, private_key = _self_signed(folder)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="tagger-", dir="/tmp", ignore_cleanup_errors=True) as temp_dir:
        options = ["--port", str(port), "--api-keys", keys, "--tls-cert", certificate, "--tls-key", private_key]
        process = subprocess.Popen(
            [*_COMMAND, "serve", *options],
            env=_environment(RAY_TMPDIR=temp_dir),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if line.startswith("ready after"):
                break
        else:
            pytest.fail(said)
        try:
            yield Served(process, f"https://127.0.0.1:{port}", certificate)
        finally:
            process.terminate()
            process.communicate(timeout=120)


def _self_signed(folder: Path) -> tuple[Path, Path]:
    """Certificate of this machine, and its private key."""
    private_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private_key, hashes.SHA256())
    )
    paths = folder / "tls.crt", folder / "tls.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


def _environment(**more: str) -> dict[str, str]:
    """Ours without what other tests told Ray."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | more


def test_only_who_trusts_the_certificate_and_has_a_key_is_answered(served: Served) -> None:
    trusting = ssl.create_default_context(cafile=served.certificate)
    with httpx.Client(base_url=served.url, verify=trusting, timeout=60) as client:
        assert client.get("/readyz").status_code == 200
        refused = client.post("/v1/tag", content=photo_bytes())
        assert (refused.status_code, ErrorResponse.model_validate_json(refused.text).error.code) == (401, "key_missing")
        answer = client.post("/v1/tag", content=photo_bytes(), headers={"authorization": f"Bearer {_KEY}"})
        assert answer.status_code == 200, answer.text
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.get(f"{served.url}/readyz")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{served.url.removeprefix('https://')}/readyz")


def test_the_tag_command_reaches_it(served: Served, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(photo_bytes())
    environment = _environment(SSL_CERT_FILE=str(served.certificate), TAGGER_API_KEY=_KEY)
    command = [*_COMMAND, "tag", photo, "--url", served.url, "--json"]
    tagged = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert tagged.returncode == 0 and '"bundle"' in tagged.stdout, tagged.stderr


def test_it_ends_well_when_its_whole_process_group_is_asked_to(served: Served) -> None:
    os.killpg(served.process.pid, signal.SIGTERM)  # as systemd does; Ray's node ends before the command
    assert served.process.wait(timeout=120) == 0
