"""Environment of shipping: what every service knows and nothing more."""

from expedite_chassis import Settings

__all__ = ["Settings"]
