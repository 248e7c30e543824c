"""Measurements of speed and memory, kept out of the tests because machines differ. Run with ``make bench``."""
