"""The Kubernetes manifests: right by Kubernetes' own schemas, and in step with the program that they run."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from streams.cli.console import READING
from streams.cli.main import main
from streams.console.web import Console
from streams.kafka.clients import base_config, group_name
from streams.kafka.topics import load_topics
from streams.settings import KAFKA_PREFIX, PREFIX, SETTINGS, Settings, load_settings
from tests.deploy.manifests import KUBERNETES, OVERLAYS, ROOT, Manifests, Object, containers, main_container
from tests.kafka.secured import write_certificates

Rendered = Callable[[str], Manifests]

VERSIONS = ("1.31", "1.34")
CUSTOM = {"PodMonitor", "ScaledObject", "TriggerAuthentication"}
"""Kinds that operators bring: Kubernetes has no schema of them. What of them we use is looked at below."""
BASE = [path for path in sorted((KUBERNETES / "base").glob("*.yaml")) if path.name != "kustomization.yaml"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", BASE, ids=lambda file: file.name)
def test_each_file_is_valid(file: Path, version: str) -> None:
    """By the schemas of an older and of a newer Kubernetes, with no field that they do not know."""
    for one in yaml.safe_load_all(file.read_text()):
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_applied_is_valid(rendered: Rendered, overlay: str, version: str) -> None:
    """All that an overlay comes to, in the overlay's namespace."""
    found = rendered(overlay)
    (namespace,) = [one["metadata"]["name"] for one in found.of("Namespace")]
    assert {namespace} == {one["metadata"]["namespace"] for one in found.objects if one["kind"] != "Namespace"}
    for one in found.objects:
        if one["kind"] not in CUSTOM:
            kubernetes_validate.validate(one, version, strict=True)


def test_a_wrong_manifest_is_found() -> None:
    """The schemas are there, and strict."""
    (service,) = yaml.safe_load_all((KUBERNETES / "base/service.yaml").read_text())
    service["spec"]["ports"][0]["prot"] = 6066
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_settings_are_right(rendered: Rendered, overlay: str, tmp_path: Path) -> None:
    """Every variable is a setting, or an option that the Kafka client takes, and has a value that it may have."""
    found = rendered(overlay)
    write_certificates(tmp_path)
    (tmp_path / "sasl-password").write_text("secret")
    for template in (one["spec"]["template"] for one in found.workloads):
        for container in containers(template):
            given = found.environment(container)
            known = {PREFIX + setting.name.upper() for setting in SETTINGS}
            assert {name for name in given if not name.startswith(KAFKA_PREFIX)} <= known
            mounted = {name: value.replace("/run/secrets/secondlook", str(tmp_path)) for name, value in given.items()}
            base_config(load_settings(environ=mounted))


@pytest.mark.parametrize("overlay", ["prod", "signed"])
def test_secrets_bring_the_files_that_settings_name(rendered: Rendered, overlay: str) -> None:
    """Each container those that its command reads: the private key the workers alone."""
    found = rendered(overlay)
    signing, unread = {PREFIX + "CONTROL_KEYS", PREFIX + "CONTROL_SIGN_WITH"}, PREFIX + "CONTROL_SIGN_WITH"
    for template in (one["spec"]["template"] for one in found.workloads):
        container = main_container(template)
        named = {key: value for key, value in found.environment(container).items() if value.startswith("/run/secrets")}
        assert (overlay == "signed") == (signing <= named.keys())
        if container["name"] == "console":
            assert unread.removeprefix(PREFIX).lower() not in READING
            named.pop(unread, None)
        assert {*named.values()} == found.mounted(template, container)


def test_no_secret_can_be_committed() -> None:
    """What an operator lays beside the overlay is ignored; public keys are no secret."""
    prod = KUBERNETES / "overlays/prod"
    overlay = yaml.safe_load((prod / "kustomization.yaml").read_text().replace("# - ", "- "))
    laid = {one.split("=")[-1] for secret in overlay["secretGenerator"] for one in secret["files"]}
    rules = (prod / ".gitignore").read_text().split()
    assert {"control-keys"} == {one for one in laid if not any(Path(one).match(rule) for rule in rules)}


def test_workers_that_are_not_ready_hold_up_no_drain(rendered: Rendered) -> None:
    """While Kafka is away none is, and a budget that counts the healthy ones would let no node be emptied."""
    for budget in rendered("prod").of("PodDisruptionBudget"):
        assert "AlwaysAllow" == budget["spec"]["unhealthyPodEvictionPolicy"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_commands_are_right(rendered: Rendered, overlay: str) -> None:
    """Every container runs a command of ours, with options that it has; but one that copies the image's model."""
    run = []
    for template in (one["spec"]["template"] for one in rendered(overlay).workloads):
        for container in containers(template):
            if container.get("command", [""])[0] == "cp":
                continue
            arguments = list(container["args"])
            command: Any = main
            while isinstance(command, click.Group):
                command = command.get_command(click.Context(command), arguments.pop(0))
            command.make_context("x", arguments)
            run.append(command.name)
    assert {"worker", "console"} <= {*run}


def served_by_workers() -> set[str]:
    return set(re.findall(r'@app\.page\("([^"]+)"\)', (ROOT / "streams/worker/web.py").read_text()))


def served_by_the_console() -> set[str]:
    source: Any = None
    return {route.resource.canonical for route in Console(source, source).app().router.routes() if route.resource}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ports_and_probes_are_those_that_are_served(rendered: Rendered, overlay: str) -> None:
    """A probe asks for a page that is there, on the port that the process listens on."""
    found = rendered(overlay)
    image = dict(re.findall(r"(SECONDLOOK_WEB_\w+)=(\S+)", (ROOT / "deploy/Dockerfile").read_text()))
    worker = main_container(found.one("StatefulSet", "secondlook")["spec"]["template"])
    listening = load_settings(environ={**image, **{k: v for k, v in found.environment(worker).items() if "WEB" in k}})
    assert ("0.0.0.0", [listening.web_port]) == (listening.web_host, [one["containerPort"] for one in worker["ports"]])
    console = main_container(found.one("Deployment", "secondlook-console")["spec"]["template"])
    port = console["args"][console["args"].index("--port") + 1]
    assert [int(port)] == [one["containerPort"] for one in console["ports"]]
    for container, pages in ((worker, served_by_workers()), (console, served_by_the_console())):
        probes = [value["httpGet"] for name, value in container.items() if name.endswith("Probe")]
        assert {"web"} == {one["port"] for one in probes}
        assert {one["path"] for one in probes} <= pages
    assert {"/live", "/ready"} == {worker[name]["httpGet"]["path"] for name in ("livenessProbe", "readinessProbe")}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_that_is_named_is_there(rendered: Rendered, overlay: str) -> None:
    """Each Service, policy and budget chooses pods that run, by a port that they have; each volume and secret exists, or may lack."""
    found = rendered(overlay)
    for service in found.of("Service"):
        (pod,) = found.pods({"matchLabels": service["spec"]["selector"]})
        ports = {one["name"]: one["containerPort"] for one in main_container(pod)["ports"]}
        assert {(one["name"], one["port"]) for one in service["spec"]["ports"]} <= {*ports.items()}
    selectors = [one["spec"]["podSelector"] for one in found.of("NetworkPolicy")]
    selectors += [one["spec"]["selector"] for one in (*found.of("PodDisruptionBudget"), *found.of("PodMonitor"))]
    assert [] == [one for one in selectors if not found.pods(one)]
    for policy in found.of("NetworkPolicy"):
        named = {port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]}
        for pod in found.pods(policy["spec"]["podSelector"]):
            assert named <= {one["name"] for one in main_container(pod)["ports"]}
    secrets = {one["metadata"]["name"] for one in found.of("Secret")}
    for pod in found.pods({}):
        volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
        assert volumes.keys() == {mount["name"] for one in containers(pod) for mount in one["volumeMounts"]}
        asked = [one["secret"]["secretName"] for one in volumes.values() if "secret" in one]
        assert overlay == "dev" or {*asked} <= secrets


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_may_do_little(rendered: Rendered, overlay: str) -> None:
    """No root, no privileges, nothing to write to but what is mounted for it, no token, memory with a limit; and the namespace insists."""
    found = rendered(overlay)
    (namespace,) = found.of("Namespace")
    assert "restricted" == namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    for pod in found.pods({}):
        spec = pod["spec"]
        assert (False, False) == (spec["automountServiceAccountToken"], spec["enableServiceLinks"])
        assert (True, "RuntimeDefault") == (
            spec["securityContext"]["runAsNonRoot"],
            spec["securityContext"]["seccompProfile"]["type"],
        )
        for container in containers(pod):
            assert {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            } == container["securityContext"]
            assert {"memory"} <= container["resources"]["limits"].keys()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_network_leads_to_kafka_and_to_names_alone(rendered: Rendered, overlay: str) -> None:
    """Out: the broker that the settings name, and DNS. In: the workers' pages for Prometheus, the console for a proxy."""
    found = rendered(overlay)
    policies = found.of("NetworkPolicy")
    (out,) = [one["spec"] for one in policies if "Egress" in one["spec"]["policyTypes"]]
    assert len(found.pods({})) == len(found.pods(out["podSelector"]))
    kafka, names = out["egress"]
    (config,) = found.of("ConfigMap")
    broker, port = config["data"]["SECONDLOOK_BROKER"].split(":")
    (peer,) = kafka["to"]
    assert broker.split(".")[1] == peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    assert [int(port)] == [one["port"] for one in kafka["ports"]]
    assert {53} == {one["port"] for one in names["ports"]}
    closed = [one["spec"]["podSelector"] for one in policies if "Ingress" in one["spec"]["policyTypes"]]
    assert len(found.pods({})) == sum(len(found.pods(one)) for one in closed)
    assert all(rule["from"] for one in policies for rule in one["spec"].get("ingress", []))


def test_a_worker_comes_back_under_its_name(rendered: Rendered) -> None:
    """Its partitions wait for it, and what its last life left open is fenced; it is given the time to end in order."""
    workers = rendered("prod").one("StatefulSet", "secondlook")["spec"]
    worker = main_container(workers["template"])
    assert "metadata.name" == rendered("prod").environment(worker)["SECONDLOOK_INSTANCE_ID"]
    assert Settings().drain_timeout + 10 <= workers["template"]["spec"]["terminationGracePeriodSeconds"]


def test_workers_can_write_to_their_model_directory(rendered: Rendered) -> None:
    """They fetch models into it: it is a volume that may be written to, filled with the image's model, and the setting names it."""
    found = rendered("prod")
    pod = found.one("StatefulSet", "secondlook")["spec"]["template"]
    worker = main_container(pod)
    directory = found.environment(worker)["SECONDLOOK_MODEL"]
    (image,) = re.findall(r"SECONDLOOK_MODEL=(\S+)", (ROOT / "deploy/Dockerfile").read_text())
    (filling,) = [one for one in pod["spec"]["initContainers"] if one["name"] == "models"]
    mount = {"name": "models", "mountPath": directory}
    assert ["cp", "-r", f"{image}/.", directory] == filling["command"]
    assert mount in filling["volumeMounts"]
    assert mount in worker["volumeMounts"]
    (volume,) = [one for one in pod["spec"]["volumes"] if one["name"] == "models"]
    assert "emptyDir" in volume


def test_the_autoscaler_asks_for_the_lag_that_the_workers_have(rendered: Rendered) -> None:
    """Of their group, on the input topics, by the same broker; never more workers than partitions, and never fewer than two."""
    found, topics = rendered("prod"), load_topics()
    (config,) = found.of("ConfigMap")
    settings = load_settings(environ={k: v for k, v in config["data"].items() if not k.endswith("_FILE")})
    scaled = found.one("ScaledObject", "secondlook")["spec"]
    target = scaled["scaleTargetRef"]
    assert "replicas" not in found.one(target["kind"], target["name"])["spec"]
    assert (2, topics["requests"].partitions) == (scaled["minReplicaCount"], scaled["maxReplicaCount"])
    assert {"kafka"} == {one["type"] for one in scaled["triggers"]}
    asked = [one["metadata"] for one in scaled["triggers"]]
    assert {topics["requests"].name, topics["responses"].name} == {one["topic"] for one in asked}
    same = {
        "bootstrapServers": settings.broker,
        "consumerGroup": group_name(settings),
        "sasl": settings.kafka["sasl.mechanism"].lower().replace("-", "_", 1).replace("-", ""),
        "tls": "enable",
    }
    assert all(same.items() <= one.items() for one in asked)
    assert all(int(one["lagThreshold"]) > 0 for one in asked)
    login = found.one("TriggerAuthentication", scaled["triggers"][0]["authenticationRef"]["name"])
    for one in login["spec"]["secretTargetRef"]:
        secret = found.one("Secret", one["name"])
        assert one["key"] in {**secret.get("data", {}), **secret.get("stringData", {})}
    assert {"username", "password", "ca"} == {one["parameter"] for one in login["spec"]["secretTargetRef"]}


def test_prometheus_is_shown_the_workers_page(rendered: Rendered) -> None:
    """The path and the port that they serve metrics on."""
    found = rendered("prod")
    spec = found.one("PodMonitor", "secondlook")["spec"]
    (pod,) = found.pods(spec["selector"])
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["path"] in served_by_workers()
    assert endpoint["port"] in {one["name"] for one in main_container(pod)["ports"]}


def shapes(value: Object, path: str = "") -> set[str]:
    """The paths of all fields."""
    found = set()
    for name, one in value.items():
        found.add(f"{path}{name}")
        for inner in one if isinstance(one, list) else [one]:
            if isinstance(inner, dict):
                found |= shapes(inner, f"{path}{name}.")
    return found


SHAPES = {
    "PodMonitor": {
        *("selector", "selector.matchLabels", "selector.matchLabels.app.kubernetes.io/name"),
        *("podMetricsEndpoints", *(f"podMetricsEndpoints.{one}" for one in ("port", "path", "interval"))),
    },
    "TriggerAuthentication": {
        "secretTargetRef",
        *(f"secretTargetRef.{one}" for one in ("parameter", "name", "key")),
    },
    "ScaledObject": {
        *("scaleTargetRef", *(f"scaleTargetRef.{one}" for one in ("apiVersion", "kind", "name"))),
        *(
            "pollingInterval",
            "minReplicaCount",
            "maxReplicaCount",
            "advanced",
            "advanced.horizontalPodAutoscalerConfig",
        ),
        "advanced.horizontalPodAutoscalerConfig.behavior",
        *(
            f"advanced.horizontalPodAutoscalerConfig.behavior.{way}{field}"
            for way in ("scaleUp", "scaleDown")
            for field in (
                "",
                ".stabilizationWindowSeconds",
                ".policies",
                ".policies.type",
                ".policies.value",
                ".policies.periodSeconds",
            )
        ),
        *(
            "triggers",
            "triggers.type",
            "triggers.authenticationRef",
            "triggers.authenticationRef.name",
            "triggers.metadata",
        ),
        *(
            f"triggers.metadata.{one}"
            for one in (
                "bootstrapServers",
                "tls",
                "sasl",
                "consumerGroup",
                "topic",
                "lagThreshold",
                "offsetResetPolicy",
            )
        ),
    },
}
"""The fields of custom kinds, as their operators' documentation has them."""


@pytest.mark.parametrize("kind", sorted(CUSTOM))
def test_custom_kinds_have_the_fields_that_their_operators_know(rendered: Rendered, kind: str) -> None:
    """No other ones, which an operator would leave unread; and what goes to a scaler as text is text."""
    (found,) = rendered("prod").of(kind)
    assert SHAPES[kind] == shapes(found["spec"])
    assert "monitoring.coreos.com/v1" if kind == "PodMonitor" else "keda.sh/v1alpha1" == found["apiVersion"]
    for trigger in found["spec"].get("triggers", []):
        assert {str} == {type(value) for value in trigger["metadata"].values()}
