"""Every plot and page."""
