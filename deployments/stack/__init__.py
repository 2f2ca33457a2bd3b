"""The embedded stack: processes of this machine that outlive the command that starts them."""
