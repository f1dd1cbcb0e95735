#!/bin/bash
# Run once, when the database is first made. Workers write their results as this user, who cannot see Airflow's tables.
set -euo pipefail

psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv password CELERY_DB_PASSWORD
CREATE ROLE celery LOGIN PASSWORD :'password';
CREATE DATABASE celery OWNER celery;
REVOKE CONNECT ON DATABASE airflow FROM PUBLIC;
SQL
