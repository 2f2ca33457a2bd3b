"""Prefect workers of our own; each registers itself by the entry point group ``prefect.collections``."""
