"""The twin's certificate authority: one per state folder, certificates for Azure's host names on demand."""

import datetime
import ssl
from functools import cache, partial
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = datetime.timedelta(days=30)


class Authority:
    """Makes certificates that clients trust which read ``bundle``: certifi's authorities and this one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.bundle = folder / "ca-bundle.pem"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign("Azure twin, not Azure", self._key, authority=True)
        own = self._certificate.public_bytes(serialization.Encoding.PEM)
        self.bundle.write_bytes(Path(certifi.where()).read_bytes() + b"\n" + own)
        self.context = cache(self._context)

    def server_context(self) -> ssl.SSLContext:
        """A context that answers each name with a certificate of that name."""

        def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
            if name:
                connection.context = self.context(name)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate_file("localhost"))
        context.sni_callback = choose
        return context

    def certificate_file(self, name: str) -> Path:
        """Write the key and certificate of a host name to a file that its owner alone can read."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(name, key)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = self._folder / f"{name}.pem"
        file.touch(mode=0o600)
        chain = [each.public_bytes(serialization.Encoding.PEM) for each in (certificate, self._certificate)]
        file.write_bytes(b"".join([private, *chain]))
        return file

    def _context(self, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate_file(name))
        return context

    def _sign(self, name: str, key: ec.EllipticCurvePrivateKey, authority: bool = False) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if authority else self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + LIFE)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(_usage(authority), critical=True)
        )
        if not authority:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _usage(authority: bool) -> x509.KeyUsage:
    usage = partial(
        x509.KeyUsage,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return usage(digital_signature=True, key_cert_sign=authority, crl_sign=authority)
