"""The slides' variants in miniature and the demo."""
