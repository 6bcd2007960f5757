"""From other gateways' configuration files to one of ours: pure, but for the reading of the one file."""
