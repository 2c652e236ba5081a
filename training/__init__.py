"""Making the models: data, networks, Lightning modules, runs."""
