"""The version, for the top of the package and for the modules below it."""

__version__ = "0.1.0.dev0"
