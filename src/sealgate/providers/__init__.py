"""The workshops: how each provider is addressed and what it speaks. Wires and hosts are pure; a clone is a row."""
