"""A local Kafka that lets nobody in without TLS, a login and rights: as docs/brokers.md has it."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streams.kafka.rights import Right
from streams.settings import KAFKA_PREFIX
from streams.trials.brokers import Security

ADMIN = "admin"
_KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}
_OPERATIONS = {one.name.replace("_", "").lower(): one for one in AclOperation}


@dataclass(frozen=True)
class Secured:
    """The cluster, its CA, and its users' passwords, which nothing may print."""

    bootstrap: str
    folder: Path
    passwords: dict[str, str]

    @property
    def ca(self) -> Path:
        """The CA's file."""
        return self.folder / "ca.pem"

    def client(self, user: str = ADMIN) -> dict[str, str]:
        """The client options of a user."""
        return {
            "bootstrap.servers": self.bootstrap,
            **options(self.ca, user),
            "sasl.password": self.passwords[user],
            "log_level": "0",
        }

    def environment(self, user: str) -> dict[str, str]:
        """The same as a deployment has it: in the environment, the password in a file."""
        file = self.folder / f"{user}.password"
        file.write_text(self.passwords[user] + "\n")
        given = {**options(self.ca, user), "sasl.password.file": str(file)}
        variables = {KAFKA_PREFIX + name.upper().replace(".", "_"): value for name, value in given.items()}
        return {**variables, "SECONDLOOK_BROKER": self.bootstrap}

    def user(self, name: str, *given: Right) -> str:
        """A user with these rights, and no others."""
        self.passwords.setdefault(name, secrets.token_hex(16))
        admin = AdminClient(self.client())
        credential = UserScramCredentialUpsertion(
            name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), self.passwords[name].encode()
        )
        for done in admin.alter_user_scram_credentials([credential]).values():
            done.result(30)
        self.grant(name, *given)
        return name

    def grant(self, name: str, *given: Right) -> None:
        """Give rights."""
        admin = AdminClient(self.client())
        for done in (admin.create_acls([_binding(name, right) for right in {*given}]) if given else {}).values():
            done.result(30)

    def take(self, name: str, right: Right) -> None:
        """Take one back."""
        one = _binding(name, right)
        wanted = AclBindingFilter(
            one.restype, one.name, one.resource_pattern_type, one.principal, "*", one.operation, one.permission_type
        )
        admin = AdminClient(self.client())  # it must outlive the answer
        (done,) = admin.delete_acls([wanted]).values()
        assert 1 == len(done.result(30))


def _binding(name: str, right: Right) -> AclBinding:
    return AclBinding(
        _KINDS[right.kind],
        right.name,
        ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL,
        f"User:{name}",
        "*",
        _OPERATIONS[right.operation.lower()],
        AclPermissionType.ALLOW,
    )


def options(ca: Path, user: str) -> dict[str, str]:
    """What a client needs beside the address and the password."""
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "ssl.ca.location": str(ca),
    }


def demanding(folder: Path) -> Security:
    """What makes a local Kafka such a one; its certificates lie in the folder."""
    ca = write_certificates(folder)
    password = secrets.token_hex(16)
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    return Security(
        {
            "listeners": "SASL_SSL://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port",
            "advertised.listeners": "SASL_SSL://127.0.0.1:$port",
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "SASL_SSL",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f'{login} username="{ADMIN}" password="{password}";',
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(folder / "broker.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(ca),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # The controller's port, which only this machine reaches, knows no logins here.
            "super.users": f"User:{ADMIN};User:ANONYMOUS",
        },
        users={ADMIN: password},
        client={**options(ca, ADMIN), "sasl.password": password},
    )


def write_certificates(folder: Path) -> Path:
    """A CA, and a certificate of it for this machine with its key, as PEM; returns the CA's file."""
    authority_key, broker_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority, name = _named("tests' CA"), _named("broker")
    ca = (
        _certificate(authority, authority, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1")), x509.DNSName("localhost")])
    broker = (
        _certificate(name, authority, broker_key.public_key())
        .add_extension(names, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    key = broker_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    (folder / "broker.pem").write_bytes(key + broker.public_bytes(pem) + ca.public_bytes(pem))
    file = folder / "ca.pem"
    file.write_bytes(ca.public_bytes(pem))
    return file


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=2))
    )
