"""headavatar: from a portrait video to a head that can be posed, driven, rendered and exported."""

import os

# Threads that spin while they wait turn two milliseconds into ten on a busy machine; read once, when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
