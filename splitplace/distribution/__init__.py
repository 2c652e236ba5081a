"""Catalogs in registries: pushed to and pulled from, by the OCI distribution specification; see README.md."""
