"""A streaming signal monitor: forecast ahead, flag what is wrong, account for every sample."""

__version__ = "0.1.0"
