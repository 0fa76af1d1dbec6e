"""ray_cluster."""
