"""Sealgate: a self-hosted gateway for language models that proves what it did."""

__version__ = "0.1.0"
