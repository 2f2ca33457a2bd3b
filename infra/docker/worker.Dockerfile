# A Prefect worker of any of the pools; it starts flow runs elsewhere and runs none itself. Built from the checkout's root:
#   az acr build --registry example --file infra/docker/worker.Dockerfile --image mlops-worker:$(git rev-parse --short HEAD) .
# Its arguments are those of `prefect worker start`: --pool operations --type azure-container-instance. It is told by
# PREFECT_API_URL and PREFECT_API_AUTH_STRING where the server is, and signs in to Azure by its managed identity.
ARG BASE=python:3.11-slim-bookworm
FROM $BASE

ENV PYTHONUNBUFFERED=1 \
    HOME=/home/mlops \
    PREFECT_WORKER_QUERY_SECONDS=5 \
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30 \
    DO_NOT_TRACK=1

RUN useradd --uid 10001 --create-home --home-dir /home/mlops mlops

# First what changes least. `make lock` writes worker.txt.
COPY infra/docker/worker.txt /tmp/worker.txt
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement /tmp/worker.txt

WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY mlops/ mlops/
COPY tasks/ tasks/
COPY flows/ flows/
COPY deployments/ deployments/
# Installed, so that Prefect finds our type of worker by its entry point.
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable . && python -m compileall -q mlops

USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "prefect", "worker", "start"]
CMD ["--pool", "operations"]
