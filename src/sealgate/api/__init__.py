"""The doors: HTTP in, one file per noun."""
