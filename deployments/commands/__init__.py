"""The subcommands of ``mlops``, one file each: ``add`` declares the options, ``run`` does it.

Modules import what is heavy inside ``run``: each start of the command pays for every import.
"""
