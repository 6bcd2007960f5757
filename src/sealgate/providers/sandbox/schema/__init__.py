"""JSON Schema: read once, checked against, and written from. The checker is the judge of what the writer makes."""
