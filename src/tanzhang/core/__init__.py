"""The domain: standard library only; no files, no clock, no network."""
