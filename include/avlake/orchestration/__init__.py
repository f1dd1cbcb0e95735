"""Airflow: assets, Params, tasks, and the local Airflow that `make run` starts."""
