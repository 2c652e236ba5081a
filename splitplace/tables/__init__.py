"""Results as people read them: tables and lines of text."""
