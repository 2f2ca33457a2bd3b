"""The scoring service: the only code in the scoring image besides what it imports."""
