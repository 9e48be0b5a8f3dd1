"""The slides' variants in miniature, as jobs."""
