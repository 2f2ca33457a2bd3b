"""One outside thing per file, each behind a small interface."""
