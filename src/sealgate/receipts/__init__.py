"""Signed receipts: what they say, the keys that sign them, and how anyone checks them."""
