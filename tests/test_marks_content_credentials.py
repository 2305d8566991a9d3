from __future__ import annotations

import datetime
import json
from io import BytesIO

import pytest
from PIL import Image

from celeb_core.errors import UsageError
from celeb_core.marks.content_credentials import ContentCredentials
from celeb_core.marks.provenance import Marker, load_marker

c2pa = pytest.importorskip("c2pa")
x509 = pytest.importorskip("cryptography.x509")

from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: E402

USAGES = (
    "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
    "key_cert_sign crl_sign encipher_only decipher_only"
).split()


def certificate(name, key, issuer, issuer_key, is_ca, usage):
    names = [
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one),
                   x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test")])
        for one in (name, issuer)
    ]  # fmt: skip
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(*reversed(names), key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(days=1))
    made = made.not_valid_after(now + datetime.timedelta(days=30))
    usages = x509.KeyUsage(**{one: one in usage for one in USAGES})
    made = made.add_extension(usages, True)
    made = made.add_extension(x509.BasicConstraints(is_ca, None), True)
    own, theirs = x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier
    made = made.add_extension(own.from_public_key(key.public_key()), False)
    made = made.add_extension(theirs.from_issuer_public_key(issuer_key.public_key()), False)
    if not is_ca:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        made = made.add_extension(purpose, True)
    return made.sign(issuer_key, hashes.SHA256())


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A self-made root and a signer's certificate of it; the signer's key."""
    folder = tmp_path_factory.mktemp("certificates")
    root, signer = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    made = [
        certificate("signer", signer, "root", root, False, ["digital_signature"]),
        certificate("root", root, "root", root, True, ["key_cert_sign", "crl_sign"]),
    ]
    pem = serialization.Encoding.PEM
    chain, key = folder / "chain.pem", folder / "signer.key"
    chain.write_bytes(b"".join(one.public_bytes(pem) for one in made))
    plain = serialization.NoEncryption()
    key.write_bytes(signer.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return chain, key


def test_an_image_is_signed_marked_and_whole(chain, tmp_path):
    marker = load_marker(tmp_path, *chain)
    image = Image.radial_gradient("L").convert("RGB")
    for name, content in (
        ("image/png", marker.png(image, {"seed": 1})),
        ("image/gif", marker.encode(image, "GIF")),
        ("image/webp", marker.encode(image, "WEBP", quality=90)),
    ):
        with c2pa.Reader(name, BytesIO(content)) as reader:
            assert reader.get_validation_state() == "Valid"  # as far as it goes without a root
            manifest = json.loads(reader.json())
        (active,) = manifest["manifests"].values()
        (actions,) = active["assertions"]
        assert actions["data"]["actions"][0]["action"] == "c2pa.created"
        assert "trainedAlgorithmicMedia" in str(actions)
        (tmp_path / "made").write_bytes(content)
        assert marker.examine(tmp_path / "made").verdict == "unchanged"
        assert Marker(b"other" * 8).examine(tmp_path / "made").verdict == "elsewhere"


def test_files_that_cannot_sign_are_refused_before_any_image(chain, tmp_path):
    certificates, key = chain
    other = tmp_path / "other.key"
    fresh = ec.generate_private_key(ec.SECP256R1())
    other.write_bytes(
        fresh.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    wrong = tmp_path / "wrong.key"  # of another certificate
    plain = serialization.NoEncryption()
    format = serialization.PrivateFormat.PKCS8
    wrong.write_bytes(fresh.private_bytes(serialization.Encoding.PEM, format, plain))
    pairs = ((key, key), (certificates, certificates), (certificates, other), (certificates, wrong))
    for pair in pairs:
        with pytest.raises(UsageError, match="cannot sign images"):
            ContentCredentials(*pair)
    with pytest.raises(UsageError, match="cannot sign images"):
        ContentCredentials(certificates, tmp_path / "none")
