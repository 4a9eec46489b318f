"""Measurements of what the repository makes: quality (what is seen and heard)."""
