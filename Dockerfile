# avlake and its Airflow in one image; which component runs is the command's choice: docker-compose.yaml, infra/helm.
FROM python:3.11.14-slim-bookworm

# What OpenCV and mediapipe load at import; curl for health checks.
RUN apt-get update \
    && apt-get install -y --no-install-recommends curl libegl1 libgl1 libgles2 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# New volumes take the owner of the folders they are mounted on. The chart calls /entrypoint with a command to run.
RUN useradd --uid 50000 --home-dir /data/airflow --no-create-home --shell /usr/sbin/nologin avlake \
    && install -d -o avlake -g avlake /data/airflow /data/logs /data/models /data/objects /data/scratch /data/warehouse \
    && install -d /landing /opt/avlake \
    && ln -s /usr/bin/env /entrypoint
WORKDIR /opt/avlake

# For a CPU-only image: --build-arg EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG EXTRA_INDEX_URL=""
COPY requirements.txt ./
RUN PIP_EXTRA_INDEX_URL="${EXTRA_INDEX_URL}" pip install --no-cache-dir --disable-pip-version-check -r requirements.txt

# The code belongs to root: who runs it cannot change it.
COPY pyproject.toml README.md ./
COPY include include
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --editable . \
    && python -m compileall -q include
COPY dags dags
COPY plugins plugins
COPY infra/docker infra/docker

ENV AIRFLOW_HOME=/data/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/avlake/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/avlake/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    AVLAKE_URI=/data/lake \
    AVLAKE_WAREHOUSE=/data/warehouse/avlake.duckdb \
    AVLAKE_MODELS=/data/models \
    AVLAKE_DOWNLOADS=/data/scratch/downloads \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    MKL_NUM_THREADS=1
USER 50000:50000
EXPOSE 8080
HEALTHCHECK NONE
CMD ["airflow", "version"]
