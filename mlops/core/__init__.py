"""Pure functions: frames and numbers in, results out."""
