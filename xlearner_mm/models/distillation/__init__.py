"""Frozen teachers, and the comparison of their features with a student's: for both stages."""
