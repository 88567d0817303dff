"""Builds the embedded head model from MakeHuman's CC0 data; not needed to use it."""
