"""headavatar: from a portrait video to a head that can be posed, driven, rendered and exported."""

__version__ = "0.1.0"
