"""TCP ports: whether a server of ours may bind one."""

import errno
import socket

from deployments.stack.processes import ComponentError
from mlops.adapters.services.ports import owner


def ensure_free(host: str, port: int, setting: str) -> None:
    """Check that a server may bind a port.

    Raises:
        ComponentError: it is taken, or cannot be bound; the message names the port, its owner
            as far as this user may know, and the setting.
    """
    choose = f"choose another with the setting {setting} (variable MLOPS_{setting.upper()})"
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        # As servers do: connections of a former server that linger do not hold the port.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ComponentError(f"port {port} is taken by {owner(port)}: end that, or {choose}") from None
            raise ComponentError(f"port {port} of {host} cannot be bound ({error.strerror}): {choose}") from None
