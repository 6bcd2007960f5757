"""What a caller has used and may use: the ledger, one row per request."""
