"""infra/helm/values.yaml fits the chart it names, and agrees with docker-compose.yaml."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import compose
import pytest
import yaml

FILE = compose.ROOT / "infra" / "helm" / "values.yaml"
VALUES = yaml.safe_load(FILE.read_text())
# Paths that the chart's values have; below one that ends in `.*`, Kubernetes' own objects follow.
CHART = {
    line
    for line in (compose.ROOT / "tests" / "deploy" / "airflow_chart_keys.txt").read_text().split()
    if not line.startswith("#")
}
ENVIRONMENT = {item["name"]: item["value"] for item in VALUES["env"]}


def paths(value: Any, above: str = "") -> Iterator[str]:
    for key, inner in value.items():
        path = f"{above}{key}"
        if isinstance(inner, dict) and f"{path}.*" not in CHART:
            yield from paths(inner, f"{path}.")
        else:
            yield f"{path}.*" if isinstance(inner, dict) else path


@pytest.mark.parametrize("path", sorted(paths(VALUES)))
def test_the_chart_has_this_key(path: str) -> None:
    assert path in CHART


def test_a_misspelt_key_would_be_noticed() -> None:
    assert not {"scheduler.resource.*", "workers.kubernetes.resource.*", "fernetKeySecret"} & CHART


def test_the_chart_is_named_with_its_version() -> None:
    text = FILE.read_text()
    assert "version 1.22.0" in text and "--version 1.22.0" in text
    assert "--version 1.22.0" in (compose.ROOT / "docs" / "deploy.md").read_text()


def test_it_is_the_same_image_and_airflow(variables: dict[str, str]) -> None:
    image = compose.services(variables)["airflow-worker"]["image"]
    assert image == f"{VALUES['defaultAirflowRepository']}:{VALUES['defaultAirflowTag']}"
    pinned = re.search(r"^apache-airflow==(.*)$", (compose.ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert pinned and VALUES["airflowVersion"] == pinned[1]
    assert f"{VALUES['uid']}:{VALUES['gid']}" == compose.services()["airflow-worker"]["user"]
    assert VALUES["airflowHome"] in (compose.ROOT / "Dockerfile").read_text()


def test_it_has_the_tunables_of_compose(variables: dict[str, str]) -> None:
    worker = compose.services(variables)["airflow-worker"]["environment"]
    shared = ("AIRFLOW__CORE__AUTH", "AIRFLOW__CORE__PARALLELISM", "AIRFLOW__SCHEDULER__", "AIRFLOW__WORKERS__")
    tunables = {name: value for name, value in worker.items() if name.startswith(shared)}
    assert len(tunables) >= 8
    assert tunables.items() <= ENVIRONMENT.items()
    assert ENVIRONMENT.items() <= {**worker, "TMPDIR": "/data/scratch"}.items()


def test_its_tasks_find_what_compose_mounts() -> None:
    assert VALUES["executor"] == "KubernetesExecutor"
    mounts = {mount["mountPath"]: mount for mount in VALUES["volumeMounts"]}
    assert set(mounts) == {"/data/warehouse", "/data/models", "/data/scratch"}
    assert mounts["/data/models"]["readOnly"] is True
    assert {mount["name"] for mount in mounts.values()} == {volume["name"] for volume in VALUES["volumes"]}
    assert VALUES["logs"]["persistence"]["existingClaim"]


def test_secrets_are_named_and_never_given() -> None:
    assert VALUES["postgresql"]["enabled"] is False and VALUES["redis"]["enabled"] is False
    assert {"metadataSecretName"} == set(VALUES["data"])
    assert all(VALUES[f"{name}Name"] for name in ("fernetKeySecret", "apiSecretKeySecret", "jwtSecret"))
    text = json.dumps(VALUES)
    assert not re.search(r'"(pass|password|fernetKey|jwtSecret|apiSecretKey|stringData|defaultUser)":', text)
    for item in VALUES["createUserJob"]["env"]:
        assert set(item) == {"name", "valueFrom"} and set(item["valueFrom"]) == {"secretKeyRef"}


def test_users_are_made_as_compose_makes_them() -> None:
    init = compose.services()["airflow-init"]["command"][-1]
    assert all(line.strip() in init for line in VALUES["createUserJob"]["args"][-1].splitlines())


def test_docs_name_every_secret_and_claim() -> None:
    docs = (compose.ROOT / "docs" / "deploy.md").read_text()
    named = set(re.findall(r"\bavlake-\w+", FILE.read_text()))
    assert named and all(name in docs for name in named)


def test_pods_have_no_more_rights_than_they_need() -> None:
    pod, container = VALUES["securityContexts"]["pod"], VALUES["securityContexts"]["containers"]
    assert pod["runAsNonRoot"] is True and pod["runAsUser"] > 0
    assert container == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@pytest.mark.parametrize("component", ["scheduler", "apiServer", "dagProcessor", "triggerer", "createUserJob"])
def test_components_have_requests_and_limits(component: str) -> None:
    resources = VALUES[component]["resources"]
    assert {"cpu", "memory"} == set(resources["requests"]) and resources["limits"]["memory"]


def test_worker_pods_have_requests_and_limits() -> None:
    resources = VALUES["workers"]["kubernetes"]["resources"]
    assert resources["requests"]["cpu"] == "1"  # a task uses one core
    limit_mb = int(resources["limits"]["memory"].removesuffix("Gi")) * 1024
    assert limit_mb > int(ENVIRONMENT["AVLAKE_FILE_MEMORY_MB"])
