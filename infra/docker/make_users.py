"""Make Airflow's two users, or give them the passwords that the environment holds now.

`admin` may do everything; `avlake` is who `discover_drops` starts runs as, and may not change Airflow.
"""

from __future__ import annotations

import os

from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

USERS = {"admin": ("Admin", "AIRFLOW_ADMIN_PASSWORD"), "avlake": ("User", "AIRFLOW_SERVICE_PASSWORD")}

with get_application_builder() as builder:
    manager = builder.sm
    for name, (role, variable) in USERS.items():
        password = os.environ[variable]
        if user := manager.find_user(username=name):
            done = manager.reset_password(user.id, password)
        else:
            done = manager.add_user(name, name, "avlake", f"{name}@localhost", manager.find_role(role), password)
        if not done:
            raise SystemExit(f"Airflow did not take the user {name}; its log above says why")
        print(f"user {name}, role {role}")
