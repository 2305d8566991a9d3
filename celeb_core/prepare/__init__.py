"""What has to be done once per model: name filter, preparation, refinement."""
