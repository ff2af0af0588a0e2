"""Tools for work on the provider: not part of the package."""
