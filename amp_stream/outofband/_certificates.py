# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The certificates of HTTP servers: making one, reading one, trusting one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from typing import Any

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID
from OpenSSL.crypto import X509, PKey
from OpenSSL.SSL import Error as SSLError
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

SELF_MADE_NAME = "amp-stream.invalid"
"""
A name that is in every certificate made here, and leads nowhere (RFC 2606, section 2).
A client has such a certificate from a ticket, and may reach its server by an address
that was not known when the certificate was made.
"""

_VALID = timedelta(days=3650)
_SKEW = timedelta(days=1)


@frozen
class Identity:
    """
    A key with its certificate.

    @ivar options: The key and the certificate in the form that TLS takes.

    @ivar names: The host names and addresses that the certificate is for.

    @ivar certificate: The certificate in PEM, for tickets; empty if an authority
        vouches for it.
    """

    options: ssl.CertificateOptions = field(repr=False)
    names: frozenset[str]
    certificate: bytes = field(repr=False)

    def nameAt(self, host: str) -> str:
        """@return: The name to expect in the certificate, if that is not C{host}."""
        if host in self.names:
            return ""
        if SELF_MADE_NAME in self.names:
            return SELF_MADE_NAME
        return min((name for name in self.names if "*" not in name), default="")


def selfSigned(hosts: Iterable[str]) -> Identity:
    """
    Make a key, and a certificate that no authority vouches for.

    @param hosts: Host names and addresses that the certificate is for, besides
        L{SELF_MADE_NAME}.
    """
    names = frozenset({*hosts, SELF_MADE_NAME})
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "amp_stream")])
    alternatives = x509.SubjectAlternativeName(map(_generalName, sorted(names)))
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _VALID)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    options = ssl.CertificateOptions(
        privateKey=PKey.from_cryptography_key(key),
        certificate=X509.from_cryptography(certificate),
    )
    return Identity(options, names, certificate.public_bytes(Encoding.PEM))


def readIdentity(path: str) -> Identity:
    """
    Read a key and its certificate.

    @param path: A file in PEM with the private key, without a password, the
        certificate, and those between it and its authority, if there are any.

    @raise OSError: The file cannot be read.

    @raise ValueError: The key or the certificate is missing, or they do not match.
    """
    with open(path, "rb") as file:
        pem = file.read()
    try:
        first, *others = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError(
            f"{path}: there is no certificate in it that can be read"
        ) from None
    key: Any = load_pem_private_key(pem, None)
    options = ssl.CertificateOptions(
        privateKey=PKey.from_cryptography_key(key),
        certificate=X509.from_cryptography(first),
        extraCertChain=[X509.from_cryptography(other) for other in others],
    )
    try:
        options.getContext()
    except SSLError:
        raise ValueError(f"{path}: the key is not that of the certificate") from None
    selfMade = first.issuer == first.subject
    certificate = first.public_bytes(Encoding.PEM) if selfMade else b""
    return Identity(options, frozenset(_namesOf(first)), certificate)


def trustOnly(certificate: bytes, name: str) -> IOpenSSLClientConnectionCreator:
    """
    Trust the server of one ticket, and no other.

    @param certificate: The certificate that the server must have, in PEM; empty for one
        that the authorities of this machine vouch for.

    @param name: The name or address that the certificate must be for.

    @raise ValueError: C{certificate} is malformed.
    """
    trust: Any = None
    if certificate:
        # Read here first: what OpenSSL says about bad ones differs by version.
        x509.load_pem_x509_certificate(certificate)
        trust = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(certificate)])
    creator: IOpenSSLClientConnectionCreator
    creator = ssl.optionsForClientTLS(name, trustRoot=trust)
    return creator


def _generalName(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _namesOf(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return []
    names: list[str] = extension.value.get_values_for_type(x509.DNSName)
    addresses: list[Any] = extension.value.get_values_for_type(x509.IPAddress)
    return names + [str(address) for address in addresses]
