"""Regular expressions and grammars: read, written from (text that fits them), and matched in bounded time."""
