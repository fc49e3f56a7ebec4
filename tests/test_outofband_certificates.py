# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The certificates of HTTP servers."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import ssl
from twisted.trial.unittest import SynchronousTestCase

from amp_stream.outofband._certificates import (
    SELF_MADE_NAME,
    readIdentity,
    selfSigned,
    trustOnly,
)
from tests.test_protocol_endpoints import makeCertificate


class SelfSignedTests(SynchronousTestCase):
    """Certificates that are made here."""

    def test_names(self):
        """
        A certificate made here is for the names and addresses that were given, and for
        the name that leads nowhere.
        """
        identity = selfSigned(["127.0.0.1", "::1", "example.org"])
        certificate = x509.load_pem_x509_certificate(identity.certificate)
        names = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
        self.assertEqual(
            set(names.get_values_for_type(x509.DNSName)),
            {"example.org", SELF_MADE_NAME},
        )
        addresses = names.get_values_for_type(x509.IPAddress)
        self.assertEqual({str(address) for address in addresses}, {"127.0.0.1", "::1"})
        self.assertEqual(
            identity.names, {"127.0.0.1", "::1", "example.org", SELF_MADE_NAME}
        )

    def test_new(self):
        """
        Each has its own key, of a kind that is good enough, and cannot sign
        others.
        """
        one, other = (
            x509.load_pem_x509_certificate(selfSigned([]).certificate) for _ in "12"
        )
        self.assertNotEqual(one.public_key(), other.public_key())
        self.assertNotEqual(one.serial_number, other.serial_number)
        self.assertIsInstance(one.public_key(), ec.EllipticCurvePublicKey)
        basic = one.extensions.get_extension_for_class(x509.BasicConstraints)
        self.assertFalse(basic.value.ca)

    def test_secrecy(self):
        """No key is in the repr, nor in what is told to clients."""
        identity = selfSigned([])
        self.assertNotIn("PRIVATE", repr(identity))
        self.assertNotIn(b"PRIVATE", identity.certificate)


class ReadTests(SynchronousTestCase):
    """Certificates from a file."""

    def write(self, content: bytes) -> str:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(content)
        return path

    def test_selfMade(self):
        """
        A certificate in the file that vouches for itself goes into tickets, wherever
        the key stands.
        """
        made = makeCertificate()
        key, pem = made.privateKey.dump(1), ssl.Certificate(made.original).dumpPEM()
        for content in (key + pem, pem + key):
            identity = readIdentity(self.write(content))
            self.assertEqual(identity.names, {"localhost"})
            self.assertEqual(
                x509.load_pem_x509_certificate(identity.certificate),
                x509.load_pem_x509_certificate(pem),
            )
            self.assertNotIn(b"PRIVATE", identity.certificate)

    def test_bad(self):
        """A file without a key, or without a certificate, is an error."""
        made = makeCertificate()
        key, pem = made.privateKey.dump(1), ssl.Certificate(made.original).dumpPEM()
        for content in (
            b"",
            b"nonsense",
            pem,
            key,
            b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n" + key,
            pem + b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n",
        ):
            with self.assertRaises(ValueError):
                readIdentity(self.write(content))

    def test_otherKey(self):
        """A file whose key does not match its certificate is refused."""
        made, other = makeCertificate(), makeCertificate()
        pem = ssl.Certificate(made.original).dumpPEM()
        with self.assertRaises(ValueError):
            readIdentity(self.write(other.privateKey.dump(1) + pem))

    def test_missing(self):
        """A file that is not there is an error of the system."""
        with self.assertRaises(OSError):
            readIdentity(self.mktemp())


class TrustTests(SynchronousTestCase):
    """Whom to trust."""

    def test_nonsense(self):
        """A ticket with a malformed certificate is refused."""
        for pem in (b"x", b"-----BEGIN CERTIFICATE-----\n", b"\xff"):
            with self.assertRaises(ValueError):
                trustOnly(pem, "example.org")
