"""Benchmarks against named anchors: run by hand (``make bench``), never by the tests."""
