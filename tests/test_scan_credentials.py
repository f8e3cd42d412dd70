"""Content Credentials of files signed with a generated certificate: read offline with the official library."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import c2pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from helpers.pictures import photo
from PIL import Image

from imltool.evidence import credentials
from imltool.evidence.credentials import concern_of, is_fault
from imltool.evidence.model import Context, Finding
from imltool.evidence.reading import read_evidence
from imltool.evidence.remarks import make_remarks
from imltool.files import sha256_file
from imltool.pictures import source

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


def certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    by: ec.EllipticCurvePrivateKey,
    until: datetime = datetime(2049, 1, 1),
) -> bytes:
    """A PEM certificate: of an authority if `name` is `issuer`, otherwise of a signer."""

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
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(root, None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
    )
    if not root:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def signer(until: datetime = datetime(2049, 1, 1), source: bytes | None = None) -> Callable[[Path], None]:
    """Return a function that signs a picture file in place; the certificate is valid until `until` (UTC)."""
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain = certificate("Signer", key, "Root", authority, until) + certificate("Root", authority, "Root", authority)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    settings = c2pa.Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}})
    made = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain, private, None))
    kinds = {".jpg": "jpeg", ".tif": "tiff"}

    def write(path: Path) -> None:
        builder = c2pa.Builder.from_json(json.dumps(MANIFEST), context=c2pa.Context(settings))
        if source is not None:
            taken = json.dumps({"title": "source.jpg", "relationship": "parentOf"})
            builder.add_ingredient(taken, "image/jpeg", io.BytesIO(source))
        signed = io.BytesIO()
        kind = kinds.get(path.suffix, path.suffix[1:])
        builder.sign(made, f"image/{kind}", io.BytesIO(path.read_bytes()), signed)
        path.write_bytes(signed.getvalue())

    return write


@pytest.fixture(scope="module")
def sign() -> Callable[[Path], None]:
    """A signer with a long-lived certificate."""
    return signer()


def signed(folder: Path, sign: Callable[[Path], None], ending: str = "jpg") -> Path:
    path = folder / f"-a.{ending}"  # a name that looks like an option
    Image.fromarray(photo(1)).save(path)
    sign(path)
    return path


def context_of(path: Path) -> Context:
    found = read_evidence(path).context
    assert found is not None
    return found


def texts(context: Context) -> list[str]:
    return [remark.text for remark in make_remarks(context) if remark.id.startswith("credentials")]


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp", "heic", "avif"])
def test_matching_credentials_are_valid(tmp_path: Path, sign: Callable[[Path], None], ending: str) -> None:
    context = context_of(signed(tmp_path, sign, ending))
    found = context.credentials
    assert (found.state, found.findings, found.reason) == ("valid", (), None)
    assert (found.generator, found.signer) == ("Example Editor 1.2", "Example")
    assert found.actions == ("c2pa.created", "c2pa.cropped")
    assert context.source_types == ("trainedAlgorithmicMedia",)
    assert texts(context) == ["Content Credentials fit the file; whether their signer is Example was not checked"]
    assert "synthetic" in {remark.id for remark in make_remarks(context)}


def test_picture_changed_after_signing_is_invalid(tmp_path: Path, sign: Callable[[Path], None]) -> None:
    path = signed(tmp_path, sign)
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    context = context_of(path)
    assert context.credentials.state == "invalid"
    (finding,) = context.credentials.findings
    assert (finding.code, finding.concerns) == ("assertion.dataHash.mismatch", "binding") and finding.explanation
    checks = context.credentials
    assert (checks.binding, checks.signature, checks.time) == ("fails", "holds", "holds")
    assert texts(context) == [
        "Content Credentials do not fit the file (the pixels or metadata were changed after signing)"
    ]


def test_damaged_credentials_are_unreadable(tmp_path: Path, sign: Callable[[Path], None]) -> None:
    path = signed(tmp_path, sign)
    data = path.read_bytes()
    start = data.index(credentials.MARK)
    path.write_bytes(data[: start + 8] + b"\0" * 400 + data[start + 408 :])
    found = context_of(path).credentials
    assert found.state == "unreadable" and found.reason


@pytest.mark.parametrize(
    ("library", "state", "reason"),
    [
        ("raise ImportError('no such library')", "not checked", "c2pa-python cannot be loaded"),
        ("import os; os.abort()", "unreadable", "the C2PA library stopped"),
        ("import time; time.sleep(60)", "unreadable", "reading took more than 2 s"),
        ("x = bytearray(10**12)", "not checked", "c2pa-python cannot be loaded"),
    ],
)
def test_failing_library_does_not_affect_the_scan(
    tmp_path: Path,
    sign: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    library: str,
    state: str,
    reason: str,
) -> None:
    """A module with the name of the library fails in its place, like a broken or exploited library."""
    path = signed(tmp_path, sign)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "c2pa.py").write_text(library)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    monkeypatch.setattr(credentials, "SECONDS", 2 if "sleep" in library else 60)
    context = context_of(path)
    assert context.credentials.state == state and reason in context.credentials.reason
    assert texts(context)[0].startswith("the file has Content Credentials, but they could not be read")


def test_module_next_to_the_evidence_is_not_loaded(
    tmp_path: Path, sign: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = signed(tmp_path, sign)
    (tmp_path / "c2pa.py").write_text("raise ImportError")
    monkeypatch.chdir(tmp_path)
    assert context_of(path).credentials.state == "valid"


def test_credentials_mark_is_found_at_any_position(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if a file is read in chunks and the mark spans two of them."""
    monkeypatch.setattr(source, "IN_MEMORY", 1000)
    for before in (0, source.CHUNK - 3, 2 * source.CHUNK):
        (tmp_path / "a").write_bytes(b"j" * before + credentials.MARK + b"rest")
        with source.open_source(tmp_path / "a", (credentials.MARK,)) as opened:
            assert opened.found == {credentials.MARK}
            assert opened.sha256 == sha256_file(tmp_path / "a") and opened.size_bytes == before + 12
    (tmp_path / "a").write_bytes(b"jumdc2p" + b"\0" * source.CHUNK + b"a")
    with source.open_source(tmp_path / "a", (credentials.MARK,)) as opened:
        assert not opened.found


@pytest.mark.parametrize("ending", ["jpg", "tif"])
def test_credentials_of_a_file_too_large_for_memory(
    tmp_path: Path, sign: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    path = signed(tmp_path, sign, ending)
    whole = context_of(path)
    monkeypatch.setattr(source, "IN_MEMORY", 1000)
    assert context_of(path) == whole and whole.credentials.state == "valid"


@pytest.mark.slow
def test_expired_certificate_is_not_reported_as_a_changed_picture(tmp_path: Path) -> None:
    """Signed a few seconds before the certificate expires, and read afterwards."""
    path = tmp_path / "a.jpg"
    for seconds in (2, 8, 32):  # a busy machine takes longer to sign
        Image.fromarray(photo(1)).save(path)
        soon = datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0) + timedelta(seconds=seconds)
        with contextlib.suppress(c2pa.C2paError):
            signer(until=soon)(path)
        if datetime.now(timezone.utc).replace(tzinfo=None) < soon:
            break
    time.sleep(max(0.0, (soon - datetime.now(timezone.utc).replace(tzinfo=None)).total_seconds()) + 1.5)
    context = context_of(path)
    found = context.credentials
    assert (found.state, found.binding, found.signature, found.time) == ("valid with faults", "holds", "holds", "fails")
    assert {finding.concerns for finding in found.findings if is_fault(finding)} == {"time"}
    assert all(finding.explanation for finding in found.findings)
    assert texts(context) == [
        "Content Credentials fit the file and are signed, with faults in other parts "
        "(the time of the signing certificate)"
    ]


def test_validation_codes_are_classified() -> None:
    """Codes of the C2PA specification, and of the library for identity assertions."""
    assert {
        code: concern_of(code)
        for code in (
            "assertion.dataHash.mismatch", "assertion.bmffHash.mismatch", "assertion.boxesHash.mismatch",
            "claimSignature.mismatch", "assertion.hashedURI.mismatch", "claim.missing", "signingCredential.expired",
            "timeStamp.mismatch", "signingCredential.untrusted", "signingCredential.revoked",
            "cawg.ica.did_unavailable", "ingredient.manifest.mismatch", "assertion.ingredient.malformed",
            "assertion.action.malformed",
        )
    } == {
        "assertion.dataHash.mismatch": "binding",
        "assertion.bmffHash.mismatch": "binding",
        "assertion.boxesHash.mismatch": "binding",
        "claimSignature.mismatch": "signature",
        "assertion.hashedURI.mismatch": "signature",
        "claim.missing": "signature",
        "signingCredential.expired": "time",
        "timeStamp.mismatch": "time",
        "signingCredential.untrusted": "identity",
        "signingCredential.revoked": "identity",
        "cawg.ica.did_unavailable": "identity",
        "ingredient.manifest.mismatch": "ingredient",
        "assertion.ingredient.malformed": "ingredient",
        "assertion.action.malformed": "other",
    }  # fmt: skip
    assert not is_fault(Finding(code="cawg.ica.did_unavailable", concerns="identity"))
    assert not is_fault(Finding(code="signingCredential.ocsp.inaccessible", concerns="identity"))
    assert is_fault(Finding(code="assertion.inaccessible", concerns="signature"))


def fake_library(folder: Path, monkeypatch: pytest.MonkeyPatch, **results: list[dict[str, str]]) -> None:
    """Install a module with the name of the library whose reader returns these results, as for rare files."""
    active = {
        "success": [],
        "informational": [],
        "failure": [],
        **{key: results[key] for key in results if key not in ("deltas", "sources")},
    }
    store = {
        "manifests": {"m": {"signature_info": {"issuer": "Example"}}},
        "active_manifest": "m",
        "validation_state": "Invalid",
        "validation_results": {
            "activeManifest": active,
            "ingredientDeltas": [
                {"validationDeltas": {"success": results.get("sources", []), "failure": results.get("deltas", [])}}
            ],
        },
    }
    (folder / "library").mkdir(exist_ok=True)
    (folder / "library" / "c2pa.py").write_text(
        "class Settings:\n from_dict = staticmethod(dict)\n"
        "def Context(settings): return None\n"
        f"class Reader:\n def __init__(self, *_, **__): pass\n def json(self): return {json.dumps(store)!r}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder / "library"))


def test_identity_unavailable_offline_is_not_a_fault(
    tmp_path: Path, sign: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = signed(tmp_path, sign)
    good = [{"code": "claimSignature.validated"}, {"code": "assertion.dataHash.match"}]
    unknown = {"code": "cawg.ica.did_unavailable", "explanation": "DID resolution failed at 0x7f75d757e8e0"}
    fake_library(tmp_path, monkeypatch, success=good, failure=[unknown])
    context = context_of(path)
    found = context.credentials
    assert (found.state, found.binding, found.signature, found.identity) == ("valid", "holds", "holds", "not checked")
    assert found.findings[0].explanation == "DID resolution failed at 0x…", (
        "the explanation is kept without the memory address"
    )
    assert texts(context) == ["Content Credentials fit the file; whether their signer is Example was not checked"]
    inner = {"code": "claimSignature.mismatch", "explanation": "claim signature is not valid"}
    fake_library(tmp_path, monkeypatch, success=good, deltas=[inner])
    context = context_of(path)
    found = context.credentials
    assert (found.state, found.signature, found.ingredients) == ("valid with faults", "holds", "fails")
    assert texts(context)[0].endswith("with faults in other parts (a source of the picture)")
    fake_library(tmp_path, monkeypatch, success=good[1:], failure=[inner])
    context = context_of(path)
    assert (context.credentials.state, context.credentials.binding) == ("invalid", "holds")
    assert texts(context) == [
        "the signature of the Content Credentials does not hold (the signed statements were changed)"
    ]


def test_identity_of_a_source_is_not_that_of_the_signer(
    tmp_path: Path, sign: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = signed(tmp_path, sign)
    good = [{"code": "claimSignature.validated"}, {"code": "assertion.dataHash.match"}]
    checked = [{"code": "cawg.ica.credential_valid"}, {"code": "ingredient.manifest.validated"}]
    fake_library(tmp_path, monkeypatch, success=good, sources=checked)
    context = context_of(path)
    found = context.credentials
    assert (found.state, found.identity, found.ingredients) == ("valid", "not checked", "holds")
    assert texts(context) == ["Content Credentials fit the file; whether their signer is Example was not checked"]
    fake_library(tmp_path, monkeypatch, success=[*good, *checked])
    assert context_of(path).credentials.identity == "holds"
    fake_library(tmp_path, monkeypatch, success=good[:1], sources=good)
    assert context_of(path).credentials.binding == "not checked"


def test_source_changed_before_it_was_added_is_a_fault(tmp_path: Path, sign: Callable[[Path], None]) -> None:
    """The signer records the fault of the source; the library still calls the file valid."""
    whole = signed(tmp_path, sign).read_bytes()
    changed = whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:]
    for taken_in, state, sources in ((whole, "valid", "holds"), (changed, "valid with faults", "fails")):
        path = tmp_path / "b.jpg"
        Image.fromarray(photo(2)).save(path)
        signer(source=taken_in)(path)
        context = context_of(path)
        found = context.credentials
        assert (found.state, found.ingredients) == (state, sources)
        assert (found.binding, found.signature) == ("holds", "holds")
    (finding,) = found.findings
    assert (finding.code, finding.concerns) == ("assertion.dataHash.mismatch", "ingredient") and finding.explanation
    assert texts(context) == [
        "Content Credentials fit the file and are signed, with faults in other parts (a source of the picture)"
    ]


@pytest.mark.parametrize("length", [60, 2000])
def test_credentials_in_a_truncated_file_are_unreadable(
    tmp_path: Path, sign: Callable[[Path], None], length: int
) -> None:
    path = signed(tmp_path, sign)
    path.write_bytes(path.read_bytes()[:length])
    assert context_of(path).credentials.state == "unreadable"


PACKET = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="{}"/></rdf:RDF></x:xmpmeta>'
)


@pytest.mark.parametrize("comment", [b"", b"a text about " + credentials.MARK])
def test_removed_or_remote_credentials_are_reported(tmp_path: Path, comment: bytes) -> None:
    """Also if a comment holds the bytes by which embedded credentials are found."""
    for address, state in (("self#jumbf=/c2pa/a/c2pa.claim", "removed"), ("https://example.org/m.c2pa", "elsewhere")):
        Image.fromarray(photo(1)).save(tmp_path / "a.jpg", xmp=PACKET.format(address).encode(), comment=comment)
        context = context_of(tmp_path / "a.jpg")
        assert (context.credentials.state, context.credentials.address) == (state, address)
        assert len(texts(context)) == 1 and address in texts(context)[0]
