"""One script per claim; see METHODOLOGY.md."""
