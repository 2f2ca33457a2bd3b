"""Datastores, assets and models: the services ``datastore`` and ``modelmanagement``."""

from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.azure_twin.azure_ml.blobs import KEY
from infra.azure_twin.azure_ml.plane import Call, Plane, routes
from infra.azure_twin.azure_ml.state import guid, now

DEFAULT = "workspaceblobstore"


def asset_routes(plane: Plane) -> list[Route]:
    """The routes of these services."""
    datastore = {
        ("GET", "/default"): default_datastore,
        ("GET", "/datastores/{name}"): default_datastore,
    }
    management = {
        ("POST", "/assets"): create_asset,
        ("GET", "/assets/{asset}"): get_asset,
        ("POST", "/models"): register_model,
        ("GET", "/models"): list_models,
        ("GET", "/models/{model}"): get_model,
        ("DELETE", "/models/{model}"): delete_model,
    }
    return [
        *routes(plane, "/datastore/v1.0", datastore),
        *routes(plane, "/modelmanagement/v1.0", management),
    ]


async def default_datastore(call: Call) -> Any:
    """The datastore that every workspace has: a container of its storage account."""
    return {
        "name": DEFAULT,
        "dataStoreType": "AzureBlob",
        "hasBeenValidated": False,
        "tags": None,
        "azureStorageSection": {
            "accountName": call.workspace.account,
            "containerName": f"azureml-blobstore-{call.workspace.guid}",
            "endpoint": "core.windows.net",
            "protocol": "https",
            "credentialType": "AccountKey",
            "credential": KEY,
            "accountKey": KEY,
            "isSas": False,
            "sasToken": "",
            "subscriptionId": call.path["subscription"],
            "resourceGroup": call.path["group"],
            "serviceDataAccessAuthIdentity": "None",
        },
    }


async def create_asset(call: Call) -> Any:
    """Register artifacts under a name."""
    asset = {**(await call.json()), "id": guid(), "createdTime": now()}
    call.workspace.assets[asset["id"]] = asset
    return asset


async def get_asset(call: Call) -> Any:
    """An asset."""
    return call.workspace.assets[call.path["asset"]]


async def register_model(call: Call) -> Any:
    """Register the next version of a model."""
    body = await call.json()
    version = 1 + max(
        (each["version"] for each in call.workspace.models.values() if each["name"] == body["name"]), default=0
    )
    model = {**body, "id": f"{body['name']}:{version}", "version": version, "createdTime": now(), "modifiedTime": now()}
    call.workspace.models[model["id"]] = model
    return model


async def list_models(call: Call) -> Any:
    """Models of a name, newest first, with all tags asked for."""
    wanted = call.query
    tags = [each.partition("=")[::2] for each in (wanted.get("tags") or "").split(",") if each]
    found = [
        model
        for model in reversed(call.workspace.models.values())
        if wanted.get("name") in (None, model["name"])
        and all((model.get("kvTags") or {}).get(key) == value for key, value in tags)
    ]
    return {"value": found[:1] if wanted.get("latestVersionOnly", "").lower() == "true" else found}


async def get_model(call: Call) -> Any:
    """A model by its id ``name:version``."""
    if found := call.workspace.models.get(call.path["model"]):
        return found
    return JSONResponse({"code": "ModelNotFound", "statusCode": 404, "message": "Model not found."}, 404)


async def delete_model(call: Call) -> Any:
    """Delete a version of a model."""
    call.workspace.models.pop(call.path["model"], None)
    return Response(status_code=200)
