"""The whole story on real images: what `splitplace demo` runs, and what it tells of it."""
