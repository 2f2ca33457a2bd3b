"""The worker type ``azure-ml``: each flow run is a job on an Azure Machine Learning compute cluster.

It is a plain Prefect worker: with this package installed, ``prefect worker start --pool POOL --type
azure-ml`` runs flows of any project. It lives among the deployments since these may import
everything, Prefect as well as the adapter, and nothing imports them.
"""

from deployments.workers.azure_ml.worker import AzureMlWorker

__all__ = ["AzureMlWorker"]
