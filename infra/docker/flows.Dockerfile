# Flow runs of every pool whose runs are containers. Built from the checkout's root, in the registry:
#   az acr build --registry example --file infra/docker/flows.Dockerfile --image mlops-flows:$(git rev-parse --short HEAD) .
# The pool's job template tells it everything else by variables; secrets are mounted at /run/secrets.
ARG BASE=python:3.11-slim-bookworm
FROM $BASE

# A Prefect server copies its UI to a folder when it starts; its own is root's.
ENV PYTHONUNBUFFERED=1 \
    HOME=/home/mlops \
    MLOPS_HOME=/app \
    MLOPS_STATE_DIR=/var/lib/mlops \
    MLOPS_SECRETS_DIR=/run/secrets \
    PREFECT_UI_STATIC_DIRECTORY=/var/lib/mlops/prefect-ui \
    MLFLOW_DISABLE_TELEMETRY=true \
    DO_NOT_TRACK=1

# scikit-learn and onnxruntime need OpenMP's runtime.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm --recursive /var/lib/apt/lists \
    && useradd --uid 10001 --create-home --home-dir /home/mlops mlops \
    && mkdir --parents /var/lib/mlops/prefect-ui \
    && chown --recursive 10001:10001 /var/lib/mlops

# First what changes least. `make lock` writes flows.txt.
COPY infra/docker/flows.txt /tmp/flows.txt
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement /tmp/flows.txt

WORKDIR /app
COPY pyproject.toml README.md LICENSE prefect.yaml ./
COPY mlops/ mlops/
COPY tasks/ tasks/
COPY flows/ flows/
COPY deployments/ deployments/
COPY infra/work_pools/ infra/work_pools/
COPY infra/kubernetes/ infra/kubernetes/
COPY infra/prices.yaml infra/
# In place, since the settings find the checkout beside the package.
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable . && python -m compileall -q mlops tasks flows

# By number, since Kubernetes' runAsNonRoot cannot look a name up.
USER 10001:10001
STOPSIGNAL SIGTERM
CMD ["python", "-m", "prefect.engine"]
