"""What the operator sees: metrics and logs, each declared once in `registry`."""
