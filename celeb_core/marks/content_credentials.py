"""Content Credentials (C2PA): files signed with the operator's certificate, by c2pa-python.

Optional: the package is imported where a certificate is configured.
"""

import json
import threading
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from celeb_core.errors import SaveFailed, UsageError, quote
from celeb_core.files import read_bytes
from celeb_core.marks.xmp import GENERATED, NAME, VERSION

MAX_PEM = 1_000_000  # bytes
CURVES = {256: "es256", 384: "es384", 521: "es512"}
MIME_TYPES = {
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "JPEG": "image/jpeg",
    "MP4": "video/mp4",
}
WITHOUT_THUMBNAIL = {"builder": {"thumbnail": {"enabled": False}}}  # larger than our images are
MANIFEST = {
    "claim_generator_info": [{"name": NAME, "version": VERSION}],
    "assertions": [
        {
            "label": "c2pa.actions.v2",
            "data": {
                "actions": [
                    {
                        "action": "c2pa.created",
                        "digitalSourceType": GENERATED,
                        "softwareAgent": {"name": NAME, "version": VERSION},
                    }
                ]
            },
        }
    ],
}


class ContentCredentials:
    """Signs files. Nothing is asked of a server: signatures have no time stamp.

    Args:
        certificates: PEM file, the signer's certificate first, then those up to the root.
        key: PEM file with the signer's private key, without a password.

    Raises:
        UsageError: The package is missing, or the files do not fit.
    """

    def __init__(self, certificates: Path, key: Path) -> None:
        try:
            self._c2pa: Any = import_module("c2pa")
        except ImportError as error:
            raise UsageError(
                "--c2pa-cert needs the package c2pa-python, which is not installed. Install it "
                "(pip install c2pa-python), or leave out --c2pa-cert and --c2pa-key."
            ) from error
        try:
            chain, secret = (read_bytes(path, MAX_PEM) for path in (certificates, key))
            info = self._c2pa.C2paSignerInfo(_algorithm(secret), chain, secret, None)
            self._signer: Any = self._c2pa.Signer.from_info(info)
            self._context: Any = self._c2pa.Context.from_dict(WITHOUT_THUMBNAIL)
        except (OSError, ValueError, TypeError, self._c2pa.C2paError) as error:
            raise _refused(certificates, key, error) from error
        self._lock = threading.Lock()
        try:
            self.sign(_probe(), "PNG")  # a chain that cannot sign is refused before the first image
        except SaveFailed as error:
            raise _refused(certificates, key, error) from error

    def sign(self, content: bytes, kind: str) -> bytes:
        """Return a file with a signed manifest that says that it was generated.

        Args:
            content: The whole file.
            kind: Its format, one of MIME_TYPES.

        Raises:
            SaveFailed: It cannot be signed.
        """
        signed = BytesIO()
        try:
            with self._lock, self._builder() as builder:
                builder.sign(self._signer, MIME_TYPES[kind], BytesIO(content), signed)
        except self._c2pa.C2paError as error:
            raise SaveFailed(
                f"The image could not be signed ({quote(str(error))}). The certificate may have "
                "expired: whoever runs this has to replace it.",
                option="--c2pa-cert",
            ) from error
        return signed.getvalue()

    def _builder(self) -> Any:
        return self._c2pa.Builder.from_json(json.dumps(MANIFEST), self._context)


def _refused(certificates: Path, key: Path, error: Exception) -> UsageError:
    return UsageError(
        f"{certificates} and {key} cannot sign images ({quote(str(error))}). Give the chain of "
        "certificates as PEM, the signer's first, and its private key as PEM without a password."
    )


def _algorithm(key: bytes) -> str:
    """Return C2PA's name of the algorithm that goes with a private key."""
    # c2pa-python brings the package.
    primitives = "cryptography.hazmat.primitives"
    ec, ed25519, rsa = (
        import_module(f"{primitives}.asymmetric.{name}") for name in ("ec", "ed25519", "rsa")
    )
    secret: Any = import_module(f"{primitives}.serialization").load_pem_private_key(key, None)
    if isinstance(secret, ec.EllipticCurvePrivateKey) and secret.key_size in CURVES:
        return CURVES[secret.key_size]
    if isinstance(secret, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(secret, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise ValueError("a private key of another kind than EC, RSA and Ed25519")


def _probe() -> bytes:
    file = BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    return file.getvalue()
