"""Checks receipts of a Sealgate gateway, offline."""
