"""The part of Airflow's REST API that avlake uses."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx

from avlake.errors import RequestError, WorkError

PAGE = 100  # Airflow's own upper limit
ACTIVE = ("queued", "running")
ATTEMPTS = 5  # SQLite answers 500 "database is locked" now and then under load


class Airflow:
    """One Airflow, one user; the token is fetched when it is needed."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url.rstrip("/")
        self._login = {"username": user, "password": password}
        # No connection outlives its request, so there is nothing to close.
        self._http = httpx.Client(base_url=self.url, timeout=30.0, limits=httpx.Limits(max_keepalive_connections=0))

    def healthy(self) -> bool:
        """Do the scheduler and the Dag processor beat?"""
        try:
            state = self.health()
        except WorkError:
            return False
        return all((state.get(part) or {}).get("status") == "healthy" for part in ("scheduler", "dag_processor"))

    def health(self) -> dict[str, dict[str, Any]]:
        """By part (metadatabase, scheduler, dag_processor, triggerer): its status, and when it last beat.

        Raises:
            WorkError: when nobody answers at this address, or not as Airflow does.
        """
        try:
            return dict(self._http.get("/api/v2/monitor/health", timeout=5.0).raise_for_status().json())
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise WorkError(f"Airflow at {self.url} does not answer ({reason})") from None

    def pool_slots(self, name: str) -> int | None:
        """How many slots a pool has; None if there is no such pool."""
        found = self._request("GET", f"/pools/{name}", missing_ok=True)
        return int(found["slots"]) if found else None

    def has_dag(self, dag_id: str) -> bool:
        return self._request("GET", f"/dags/{dag_id}", missing_ok=True) is not None

    def import_errors(self) -> list[str]:
        found = self._request("GET", "/importErrors")["import_errors"]
        return [f"{e['filename']}: {e['stack_trace'].strip().splitlines()[-1]}" for e in found]

    def pause(self, dag_id: str, paused: bool) -> None:
        self._request("PATCH", f"/dags/{dag_id}", json={"is_paused": paused})

    def ensure_pool(self, name: str, slots: int, description: str) -> None:
        if self._request("GET", f"/pools/{name}", missing_ok=True) is None:
            pool = {"name": name, "slots": slots, "description": description, "include_deferred": False}
            self._request("POST", "/pools", json=pool, conflict_ok=True)

    def trigger(
        self, dag_id: str, *, key: str | None, conf: dict[str, Any] | None = None, run_id: str | None = None
    ) -> str | None:
        """Start a run, with a partition key if the Dag has one; its id, or None where `run_id` exists already."""
        body = {"logical_date": None, "partition_key": key, "conf": conf or {}}
        if run_id:
            body["dag_run_id"] = run_id
        made = self._request("POST", f"/dags/{dag_id}/dagRuns", json=body, conflict_ok=True)
        return made["dag_run_id"] if made else None

    def backfill(self, dag_id: str, *, first: str, last: str, conf: dict[str, Any], max_active_runs: int) -> int:
        """Start a run for each day from `first` to `last`, both YYYY-MM-DD, once more where one has ended; its id."""
        body = {
            "dag_id": dag_id,
            "from_date": f"{first}T00:00:00Z",
            "to_date": f"{last}T23:59:59Z",
            "reprocess_behavior": "completed",
            "max_active_runs": max_active_runs,
            "dag_run_conf": conf,
        }
        return int(self._request("POST", "/backfills", json=body)["id"])

    def backfills(self, dag_id: str) -> list[dict[str, Any]]:
        return list(self._pages("/backfills", "backfills", dag_id=dag_id))

    def runs(self, dag_id: str, since: datetime) -> list[dict[str, Any]]:
        """Runs that are active, or were queued at `since` or later; oldest first."""
        found = self._pages(f"/dags/{dag_id}/dagRuns", "dag_runs", order_by="id")
        return [r for r in found if r["state"] in ACTIVE or _time(r["queued_at"] or r["run_after"]) >= since]

    def active_runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Runs that are queued or running."""
        return list(self._pages(f"/dags/{dag_id}/dagRuns", "dag_runs", state=ACTIVE))

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        return list(self._pages(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", "task_instances"))

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task returned; None if nothing."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        entry = self._request("GET", path, params={"deserialize": "true"}, missing_ok=True)
        return entry["value"] if entry else None

    def log(self, task: dict[str, Any]) -> list[str]:
        """The lines of a task instance's last attempt."""
        path = f"/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}"
        content = self._request(
            "GET",
            f"{path}/logs/{max(task['try_number'], 1)}",
            params={"map_index": task["map_index"], "full_content": "true"},
            headers={"Accept": "application/json"},
        )["content"]
        return [line for entry in content for line in _log_lines(entry)]

    def _pages(self, path: str, name: str, **params: Any) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            page = self._request("GET", path, params={**params, "limit": PAGE, "offset": offset})
            yield from page[name]
            offset += PAGE
            if offset >= page["total_entries"]:
                return

    def _request(
        self, method: str, path: str, *, missing_ok: bool = False, conflict_ok: bool = False, **options: Any
    ) -> Any:
        reason = "the token is refused"
        for attempt in range(ATTEMPTS):
            if "Authorization" not in self._http.headers:
                self._authorise()
            try:
                answer = self._http.request(method, f"/api/v2{path}", **options)
            except httpx.TransportError as error:
                answer = None
                reason = str(error)
            if answer is not None and answer.status_code == 401:
                del self._http.headers["Authorization"]
            elif answer is not None and answer.status_code < 500:
                break
            else:
                reason = reason if answer is None else f"{answer.status_code} {answer.text[:300]}"
            time.sleep(0.5 * 2**attempt)
        else:
            raise WorkError(f"Airflow at {self.url} does not answer {method} {path}: {reason}")
        if (missing_ok and answer.status_code == 404) or (conflict_ok and answer.status_code == 409):
            return None
        if answer.is_error:
            kind = RequestError if answer.status_code in (400, 404, 409, 422) else WorkError
            raise kind(f"Airflow refused {method} {path}: {_detail(answer)}")
        return answer.json()

    def _authorise(self) -> None:
        answer = self._http.post("/auth/token", json=self._login)
        if answer.is_error:
            raise WorkError(f"Airflow at {self.url} refused the user {self._login['username']}: {_detail(answer)}")
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _detail(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError):
        return f"{answer.status_code} {answer.text[:300]}"
    return detail if isinstance(detail, str) else f"{answer.status_code} {detail}"


def _log_lines(entry: str | dict[str, Any]) -> Iterable[str]:
    """A structured log entry as the lines a person reads: its event, then its exceptions."""
    if isinstance(entry, str):
        return entry.splitlines()
    lines = str(entry.get("event", "")).splitlines()
    for error in entry.get("error_detail") or ():
        lines.append(f"{error.get('exc_type')}: {error.get('exc_value')}")
    return lines
