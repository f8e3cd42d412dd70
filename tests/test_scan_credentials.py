"""Content Credentials of files signed here with a certificate made here: read offline, by the official library."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import c2pa
import pytest
from conftest import photo
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

from imltool.evidence import credentials
from imltool.evidence.context import picture_context
from imltool.evidence.remarks import make_remarks
from imltool.pictures.images import read_picture

MADE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
MANIFEST = {
    "claim_generator_info": [{"name": "Example Editor", "version": "1.2"}],
    "assertions": [
        {
            "label": "c2pa.actions",
            "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": MADE}, {"action": "c2pa.cropped"}]},
        }
    ],
}


def certificate(name: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate in PEM; of an authority where `name` is `issuer`, else of a signer."""

    def full(common: str) -> x509.Name:
        return x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
        )

    root = name == issuer
    usage = {
        "digital_signature": not root, "key_cert_sign": root, "crl_sign": root, "content_commitment": False,
        "key_encipherment": False, "data_encipherment": False, "key_agreement": False, "encipher_only": False,
        "decipher_only": False,
    }  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(full(name))
        .issuer_name(full(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2024, 1, 1))
        .not_valid_after(datetime(2049, 1, 1))
        .add_extension(x509.BasicConstraints(root, None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
    )
    if not root:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def sign() -> Callable[[Path], None]:
    """Signs a picture file in its place."""
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain = certificate("Signer", key, "Root", authority) + certificate("Root", authority, "Root", authority)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    settings = c2pa.Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}})
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain, private, None))
    kinds = {".jpg": "jpeg", ".tif": "tiff"}

    def write(path: Path) -> None:
        builder = c2pa.Builder.from_json(json.dumps(MANIFEST), context=c2pa.Context(settings))
        signed = io.BytesIO()
        kind = kinds.get(path.suffix, path.suffix[1:])
        builder.sign(signer, f"image/{kind}", io.BytesIO(path.read_bytes()), signed)
        path.write_bytes(signed.getvalue())

    return write


def signed(folder: Path, sign: Callable[[Path], None], ending: str = "jpg") -> Path:
    path = folder / f"-a.{ending}"  # a name that could pass for an option
    Image.fromarray(photo(1)).save(path)
    sign(path)
    return path


def context_of(path: Path) -> dict[str, Any]:
    return picture_context(path, read_picture(path))


def texts(context: dict[str, Any]) -> list[str]:
    return [remark.text for remark in make_remarks(context) if remark.id.startswith("credentials")]


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp", "heic", "avif"])
def test_credentials_that_fit(tmp_path: Path, sign: Callable[[Path], None], ending: str) -> None:
    context = context_of(signed(tmp_path, sign, ending))
    found = context.credentials
    assert (found.state, found.failures, found.reason) == ("valid", [], None)
    assert (found.generator, found.signer) == ("Example Editor 1.2", "Example")
    assert found.actions == ["c2pa.created", "c2pa.cropped"]
    assert context.source_types == ["trainedAlgorithmicMedia"]
    assert texts(context) == ["Content Credentials fit the file; whether their signer is Example was not checked"]
    assert "synthetic" in {remark.id for remark in make_remarks(context)}


def test_a_picture_changed_after_signing(tmp_path: Path, sign: Callable[[Path], None]) -> None:
    path = signed(tmp_path, sign)
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    context = context_of(path)
    assert context.credentials.state == "invalid"
    assert context.credentials.failures == ["assertion.dataHash.mismatch"]
    assert texts(context) == ["Content Credentials do not fit the file (assertion.dataHash.mismatch)"]


def test_credentials_cut_in_two(tmp_path: Path, sign: Callable[[Path], None]) -> None:
    path = signed(tmp_path, sign)
    data = path.read_bytes()
    start = data.index(credentials.MARK)
    path.write_bytes(data[: start + 8] + b"\0" * 400 + data[start + 408 :])
    found = context_of(path).credentials
    assert found.state == "unreadable" and found.reason


@pytest.mark.parametrize(
    ("library", "state", "reason"),
    [
        ("raise ImportError('no such library')", "not checked", "c2pa-python cannot be loaded (no such library)"),
        ("import os; os.abort()", "unreadable", "the C2PA library stopped"),
        ("import time; time.sleep(60)", "unreadable", "reading took more than 2 s"),
        ("x = bytearray(10**12)", "not checked", "c2pa-python cannot be loaded"),
    ],
)
def test_the_library_cannot_harm_the_scan(
    tmp_path: Path,
    sign: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    library: str,
    state: str,
    reason: str,
) -> None:
    """A module of the library's name that fails in its place, as a broken or deceived one would."""
    path = signed(tmp_path, sign)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "c2pa.py").write_text(library)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    monkeypatch.setattr(credentials, "SECONDS", 2 if "sleep" in library else 60)
    context = context_of(path)
    assert context.credentials.state == state and reason in context.credentials.reason
    assert texts(context)[0].startswith("Content Credentials are there and could not be read")


def test_a_module_beside_the_evidence_is_not_loaded(
    tmp_path: Path, sign: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = signed(tmp_path, sign)
    (tmp_path / "c2pa.py").write_text("raise ImportError")
    monkeypatch.chdir(tmp_path)
    assert context_of(path).credentials.state == "valid"


def test_the_mark_is_found_wherever_it_lies(tmp_path: Path) -> None:
    for before in (0, credentials.CHUNK - 3, 2 * credentials.CHUNK):
        (tmp_path / "a").write_bytes(b"j" * before + credentials.MARK + b"rest")
        assert credentials.holds(tmp_path / "a", credentials.MARK)
    (tmp_path / "a").write_bytes(b"jumdc2p" + b"\0" * credentials.CHUNK + b"a")
    assert not credentials.holds(tmp_path / "a", credentials.MARK)
