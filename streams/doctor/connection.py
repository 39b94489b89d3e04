"""Checks of the way to the brokers: does anybody answer, is it TLS, is the login taken?"""

from typing import Final

from streams.doctor.checking import Finding, Found, check_for_all, command
from streams.doctor.facts import Facts, Failed

_TLS_TROUBLE: Final = frozenset({"certificate", "client-certificate", "plaintext-port", "tls-port"})
_LOGIN_TROUBLE: Final = frozenset({"login", "login-wanted", "sasl-mechanism"})


@check_for_all
def broker(facts: Facts) -> Found:
    """Whether anybody answers at all."""
    found = facts.brokers
    if not isinstance(found, Failed):
        yield Finding("broker", "ok", f"{found} answer at {facts.settings.broker}")
    elif found.kind in _TLS_TROUBLE | _LOGIN_TROUBLE:
        yield Finding("broker", "ok", f"something listens at {facts.settings.broker}")
    else:
        yield Finding(
            "broker", "wrong", found.why, _BROKER_MENDS.get(found.kind, "secondlook doctor --broker HOST:PORT")
        )


_BROKER_MENDS: Final = {
    "refused": "start the broker, or secondlook doctor --broker HOST:PORT",
    "name": "getent hosts HOST; secondlook doctor --broker HOST:PORT",
    "settings": "secondlook settings",
}


@check_for_all
def tls(facts: Facts) -> Found:
    """Whether both sides speak TLS, and trust each other."""
    protocol = facts.settings.kafka.get("security.protocol", "plaintext").lower()
    found = facts.brokers
    if isinstance(found, Failed) and found.kind in _TLS_TROUBLE:
        has_login = "sasl" in protocol
        mend = {
            "certificate": "-X ssl.ca.location=CA.pem",
            "client-certificate": "-X ssl.certificate.location=CLIENT.pem -X ssl.key.location=CLIENT.key",
            "plaintext-port": f"-X security.protocol={'SASL_PLAINTEXT' if has_login else 'PLAINTEXT'}",
            "tls-port": f"-X security.protocol={'SASL_SSL' if has_login else 'SSL'} -X ssl.ca.location=CA.pem",
        }[found.kind]
        yield Finding("tls", "wrong", found.why, f"{command(facts, 'doctor')} {mend}")
    elif isinstance(found, Failed) and found.kind not in _LOGIN_TROUBLE:
        yield Finding("tls", "unknown", "no broker answered")
    else:
        yield Finding("tls", "ok", "in use" if "ssl" in protocol else f"none (security.protocol={protocol})")


@check_for_all
def login(facts: Facts) -> Found:
    """Whether the broker takes the login."""
    protocol, found = facts.settings.kafka.get("security.protocol", "plaintext").lower(), facts.brokers
    if isinstance(found, Failed) and found.kind in _LOGIN_TROUBLE:
        wanted = " -X security.protocol=SASL_SSL" if found.kind == "login-wanted" else ""
        mend = f"{wanted} -X sasl.mechanism=SCRAM-SHA-512 -X sasl.username=NAME -X sasl.password.file=FILE"
        yield Finding("login", "wrong", found.why, command(facts, "doctor") + mend)
    elif isinstance(found, Failed):
        yield Finding("login", "unknown", "no broker answered")
    elif "sasl" in protocol:
        user = facts.settings.kafka.get("sasl.username", "")
        yield Finding("login", "ok", f"as {user}" if user else "taken")
    else:
        yield Finding("login", "ok", f"none (security.protocol={protocol})")
