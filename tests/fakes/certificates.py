"""Certificate authorities of the tests' own, and what they sign."""

from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

LONG_AGO, LAST_YEAR, FAR_AHEAD = (datetime(year, 1, 1, tzinfo=UTC) for year in (2020, 2025, 2120))


@dataclass(frozen=True)
class Authority:
    """Who signs. Its certificate is in `file`."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        object.__setattr__(self, "_key", key)
        builder = _builder(self.name, self.name, key.public_key(), key.public_key(), FAR_AHEAD, ca=True)
        self.file.write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM))

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.pem"

    def issue(self, *hosts: str, until: datetime = FAR_AHEAD) -> Path:
        """A certificate for these names and addresses; its key is in the same file."""
        key = ec.generate_private_key(ec.SECP256R1())
        mine: ec.EllipticCurvePrivateKey = self._key  # type: ignore[attr-defined]
        builder = _builder(hosts[0], self.name, key.public_key(), mine.public_key(), until, ca=False)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_name(host) for host in hosts]), critical=False
        )
        return _write(
            self.folder / f"{self.name}-{hosts[0]}-{until.year}.pem", builder.sign(mine, SHA256()), key
        )


def self_signed(folder: Path, host: str) -> Path:
    """Nobody but itself vouches for it; its key is in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(host, host, key.public_key(), key.public_key(), FAR_AHEAD, ca=True)
    builder = builder.add_extension(x509.SubjectAlternativeName([_name(host)]), critical=False)
    return _write(folder / f"self-{host}.pem", builder.sign(key, SHA256()), key)


def _builder(
    subject: str,
    issuer: str,
    key: ec.EllipticCurvePublicKey,
    issuers_key: ec.EllipticCurvePublicKey,
    until: datetime,
    *,
    ca: bool,
) -> x509.CertificateBuilder:
    """With all that strict verification asks for."""
    return (
        x509.CertificateBuilder(_common(issuer), _common(subject), key, x509.random_serial_number())
        .not_valid_before(LONG_AGO)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuers_key), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=ca,
                crl_sign=ca,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )


def _common(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Path:
    path.write_bytes(
        certificate.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return path
