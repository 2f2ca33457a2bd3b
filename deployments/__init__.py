"""What turns the repository into a running system: models, pools, deployments, the local stack."""
