"""The Azure services of the twin: each module here has ``install(twin)`` and is found by itself."""
