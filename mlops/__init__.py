"""All that works without Prefect: the pure core, the adapters and the scoring service."""
