"""Who is asking: credentials, API keys, and the pepper under their digests."""
