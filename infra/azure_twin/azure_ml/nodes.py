"""What a job finds on its node: the image's and the job's variables, Azure's own, and the cluster's identity."""

import os
import sys
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.azure_twin import images, isolation
from infra.azure_twin.azure_ml.state import Run, Workspace, guid
from infra.azure_twin.directory import Principal
from infra.azure_twin.twin import Twin


class ImageMissing(Exception):
    """A job's image cannot be pulled."""


class Nodes:
    """The nodes of all clusters."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._secrets: dict[str, Principal] = {}

    def environment(self, workspace: Workspace, run: Run, folder: Path) -> dict[str, str]:
        """What the job's process starts with: the image's variables, the job's, and those that Azure adds.

        Raises:
            ImageMissing: the image of the job's environment is unknown here, or the cluster's identity may not pull it.
        """
        wanted = run.definition.get("environment") or {}
        reference = (wanted.get("docker") or {}).get("baseImage") or ""
        identity = self._identity(workspace, run)
        image = images.find(reference)
        if image is None or not self._twin.registry_allows(reference.partition("/")[0], identity.object_id):
            raise ImageMissing(
                f"Failed to pull Docker image {reference}. This error may occur because the compute could not "
                "authenticate with the Docker registry to pull the image. If using ACR please ensure the ACR has Admin "
                "user enabled or a Managed Identity with `AcrPull` access to the ACR is assigned to the compute."
            )
        given = (wanted.get("environmentVariables") or {}) | (run.definition.get("environmentVariables") or {})
        plan = images.plan(image, [], {key: str(value) for key, value in given.items()}, {}, "127.0.0.1", folder)
        for place in plan.made:
            place.mkdir(parents=True, exist_ok=True)
        secret = guid()
        self._secrets[secret] = identity
        parts = workspace.scope.split("/")
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            "HOME": str(folder),
            "PYTHONUNBUFFERED": "1",
            **self._twin.network(),
            **plan.environment,
            isolation.TWIN: str(self._twin.state),
            isolation.ONE: run.run_id,
            "AZUREML_RUN_ID": run.run_id,
            "AZUREML_ARM_SUBSCRIPTION": parts[2],
            "AZUREML_ARM_RESOURCEGROUP": parts[4],
            "AZUREML_ARM_WORKSPACE_NAME": workspace.name,
            "AZUREML_EXPERIMENT_NAME": run.experiment,
            "MSI_ENDPOINT": f"{self._twin.url}/twin/azure-ml/identity",
            "MSI_SECRET": secret,
            **({} if "/computes/" in identity.resource else {"DEFAULT_IDENTITY_CLIENT_ID": identity.client_id}),
        }

    def _identity(self, workspace: Workspace, run: Run) -> Principal:
        """The cluster's user-assigned identity, or its own where it has none."""
        cluster = workspace.clusters.get(run.target.lower())
        given = ((cluster.body.get("identity") or {}) if cluster else {}).get("userAssignedIdentities") or {}
        return self._twin.directory.of_resource(next(iter(given), f"{workspace.scope}/computes/{run.target}"))

    async def token(self, request: Request) -> Response:
        """The endpoint of managed identities on a node (``MSI_ENDPOINT``)."""
        principal = self._secrets.get(request.headers.get("secret", ""))
        if principal is None:
            return JSONResponse({"statusCode": 401, "message": "the secret is wrong"}, 401)
        # A user-assigned identity is asked for by its client id, which the job finds in DEFAULT_IDENTITY_CLIENT_ID.
        wanted = request.query_params.get("clientid", "")
        if wanted != ("" if "/computes/" in principal.resource else principal.client_id):
            return JSONResponse({"statusCode": 400, "message": f"the node has no identity {wanted!r}"}, 400)
        resource = request.query_params.get("resource", "")
        answer = self._twin.tokens.issue(resource, principal.client_id, principal.object_id)
        expires = self._twin.tokens.read(answer["access_token"])["exp"]
        shown = {"expires_on": str(expires), "resource": resource, "client_id": principal.client_id}
        return JSONResponse({"access_token": answer["access_token"], "token_type": "Bearer"} | shown)
