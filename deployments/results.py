"""Where Prefect keeps the results of tasks: beside the store, so that a suspended run resumes in any container."""

from mlops.settings import Settings

BLOCK = "mlops-results"
FOLDER = ".prefect"
"""In the store's container; the store shows no name that begins with a dot."""


def result_environment(settings: Settings) -> dict[str, str]:
    """The variable by which a flow run keeps results in the block; none where the store is a folder."""
    if not settings.store_uri.startswith("http"):
        return {}
    return {"PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK": f"azure-blob-storage-container/{BLOCK}"}


def ensure_result_storage(settings: Settings) -> None:
    """Save the block on the Prefect server whose API is set, where the store is a Blob container.

    The block names the account, and whoever uses it signs in as itself; only where the store is opened by a connection
    string (Azurite) does the block hold that.

    Raises:
        mlops.adapters.store.StoreError: the store's URI is no container's.
    """
    if not result_environment(settings):
        return
    from prefect_azure import AzureBlobStorageCredentials
    from prefect_azure.blob_storage import AzureBlobStorageContainer

    from mlops.adapters.azure_auth import read_secret
    from mlops.adapters.store_blob import CONNECTION_STRING_FILE, split_uri

    account, container = split_uri(settings.store_uri)
    connection = read_secret(settings, CONNECTION_STRING_FILE)
    credentials = (
        AzureBlobStorageCredentials(connection_string=connection)
        if connection
        else AzureBlobStorageCredentials(account_url=account)
    )
    credentials.save(BLOCK, overwrite=True)
    block = AzureBlobStorageContainer(container_name=container, credentials=credentials, base_folder=FOLDER)
    block.save(BLOCK, overwrite=True)
