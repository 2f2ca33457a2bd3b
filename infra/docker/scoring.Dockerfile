# The scoring service of one model in one environment, and nothing else. Built from the checkout's root:
#   docker build --file infra/docker/scoring.Dockerfile --tag mlops-scoring .
# It is told by MLOPS_STORE, MLOPS_SCORING_MODEL and MLOPS_SCORING_ENVIRONMENT what to serve, and reads its keys from
# the file /run/secrets/scoring-keys; a store in Azure Blob is opened by a managed identity (MLOPS_AZURE_SIGN_IN), or by
# /run/secrets/storage-connection-string or storage-sas. Put /var/lib/mlops on a volume: there are the rows of the
# prediction log that the store has not taken yet, and the last good bundle. It serves ONNX; a spec with
# `serving_format: joblib` needs pandas and scikit-learn besides.
ARG BASE=python:3.11-slim-bookworm
FROM $BASE

ENV PYTHONUNBUFFERED=1 \
    MLOPS_HOST=0.0.0.0 \
    MLOPS_SCORING_BIND_PORT=8080 \
    MLOPS_SECRETS_DIR=/run/secrets \
    MLOPS_SCORING_KEYS_FILE=/run/secrets/scoring-keys \
    MLOPS_STATE_DIR=/var/lib/mlops

# First what changes least. `make lock` writes scoring.txt.
COPY infra/docker/scoring.txt /tmp/scoring.txt
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement /tmp/scoring.txt \
    && mkdir --parents /var/lib/mlops \
    && chown 10001:10001 /var/lib/mlops

WORKDIR /app
COPY mlops/__init__.py mlops/settings.py mlops/
COPY mlops/core/__init__.py mlops/core/bundle.py mlops/core/schema.py mlops/core/serving.py mlops/core/
COPY mlops/adapters/__init__.py mlops/adapters/arrow_arrays.py mlops/adapters/azure_auth.py mlops/adapters/bundles.py \
    mlops/adapters/prediction_blocks.py mlops/adapters/prediction_columns.py mlops/adapters/prediction_log.py \
    mlops/adapters/prediction_tables.py mlops/adapters/spool.py mlops/adapters/store.py mlops/adapters/store_blob.py \
    mlops/adapters/
COPY mlops/scoring/ mlops/scoring/
RUN python -m compileall -q mlops

# By number, since Kubernetes' runAsNonRoot cannot look a name up.
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM

# Alive, not ready: a service whose store is away serves on and must not be restarted.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['MLOPS_SCORING_BIND_PORT']), timeout=2); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]

CMD ["python", "-m", "mlops.scoring"]
