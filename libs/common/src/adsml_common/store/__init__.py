"""Daily metrics, entities, change events and feedback, in SQLite or PostgreSQL."""
