"""File formats that others write: images, tensors, models, embeddings, calibrations, settings."""
