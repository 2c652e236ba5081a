"""What launches and watches device runtimes."""
