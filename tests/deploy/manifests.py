"""Reading Kubernetes objects."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
OVERLAYS = ("dev", "prod")

Object = dict[str, Any]


@dataclass(frozen=True)
class Manifests:
    """All objects of one rendering."""

    objects: list[Object]

    def of(self, kind: str) -> list[Object]:
        return [one for one in self.objects if one["kind"] == kind]

    def one(self, kind: str, name: str) -> Object:
        (found,) = [one for one in self.of(kind) if one["metadata"]["name"] == name]
        return found

    @property
    def workloads(self) -> list[Object]:
        return [one for one in self.objects if "template" in one.get("spec", {})]

    def pods(self, selector: Object) -> list[Object]:
        """The pod templates that a selector chooses."""
        templates = [one["spec"]["template"] for one in self.workloads]
        return [one for one in templates if chosen(selector, one["metadata"]["labels"])]

    def environment(self, container: Object) -> dict[str, str]:
        """The variables that a container is given; of one that is told by its pod, what it is told."""
        given: dict[str, str] = {}
        for source in container.get("envFrom", []):
            given |= self.one("ConfigMap", source["configMapRef"]["name"])["data"]
        for variable in container.get("env", []):
            told = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            given[variable["name"]] = variable.get("value", told)
        return given

    def mounted(self, template: Object, container: Object) -> set[str]:
        """The files that secrets bring a container."""
        brought = {one["name"]: one["secret"]["secretName"] for one in template["spec"]["volumes"] if "secret" in one}
        return {
            f"{mount['mountPath']}/{key}"
            for mount in container["volumeMounts"]
            if mount["name"] in brought
            for key in self.one("Secret", brought[mount["name"]])["data"]
        }


def containers(template: Object) -> Iterator[Object]:
    """Those of a pod, the ones that make it ready among them."""
    yield from template["spec"].get("initContainers", [])
    yield from template["spec"]["containers"]


def main_container(template: Object) -> Object:
    (only,) = template["spec"]["containers"]
    return only


def chosen(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a selector chooses these labels."""
    wanted = selector.get("matchLabels", {})
    among = selector.get("matchExpressions", [])
    assert {"In"} >= {one["operator"] for one in among}
    return wanted.items() <= labels.items() and all(labels.get(one["key"]) in one["values"] for one in among)
