"""Whether each image and annotation can be what it claims to be."""
