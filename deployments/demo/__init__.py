"""The whole loop on two models and real data, as a newcomer first sees it."""

MODELS = ("iris", "flights")
