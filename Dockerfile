# avlake and its Airflow in one image; which component runs is the command's choice (see docker-compose.yaml).
FROM python:3.11-slim-bookworm

# What OpenCV and mediapipe load at import.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libegl1 libgles2 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 50000 avlake \
    && mkdir -p /opt/avlake /data \
    && chown avlake /opt/avlake /data
WORKDIR /opt/avlake

# For a CPU-only image: --build-arg EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG EXTRA_INDEX_URL=""
COPY requirements.txt ./
RUN PIP_EXTRA_INDEX_URL="${EXTRA_INDEX_URL}" pip install --no-cache-dir -r requirements.txt

COPY --chown=avlake pyproject.toml README.md ./
COPY --chown=avlake include include
RUN pip install --no-cache-dir --no-deps -e .
COPY --chown=avlake dags dags
COPY --chown=avlake plugins plugins

USER avlake
ENV AIRFLOW_HOME=/data/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/avlake/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/avlake/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL=1 \
    AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL=15 \
    AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD=15 \
    AVLAKE_URI=/data/lake \
    AVLAKE_WAREHOUSE=/data/warehouse.duckdb \
    AVLAKE_MODELS=/data/models \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    MKL_NUM_THREADS=1
EXPOSE 8080
CMD ["airflow", "version"]
