"""Sessions, the settings by which they are made without being asked for, and episodes."""
