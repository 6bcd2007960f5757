"""The gate: everything that leaves the process for a provider or another server goes through here."""
