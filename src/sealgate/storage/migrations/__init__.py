"""Alembic's environment and the steps from one schema to the next. A step that was released is never edited."""
