"""A twin of the parts of Azure that this system uses, for rehearsals on one machine.

It is reached by environment alone (``HTTPS_PROXY`` and its own certificate authority), so SDKs and
workers are unmodified and use Azure's host names. It listens on loopback only and relays nothing
to the outside. Nothing outside this folder (and tests and demos) knows that it exists.
"""
