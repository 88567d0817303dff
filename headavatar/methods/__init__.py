"""Ways to make an avatar of a tracked clip, and the registry that lists them."""

from .base import Avatar, MethodSpec, Trainer
from .registry import get, list_methods, load_avatar, trainer_class

__all__ = ["Avatar", "MethodSpec", "Trainer", "get", "list_methods", "load_avatar", "trainer_class"]
