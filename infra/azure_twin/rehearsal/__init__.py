"""A rehearsal on this machine: a twin, Azurite as its storage account, a subscription as infra/bicep leaves it."""
