"""What each compared server loads; every file runs in that server's own environment, not in the project's."""
