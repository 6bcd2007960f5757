"""Pure formats: bytes in, values out. Nothing here does I/O or knows the rest of the house."""
