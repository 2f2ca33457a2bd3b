"""Prefect tasks: retries, timeouts, logging and artifacts around the core and the adapters."""
