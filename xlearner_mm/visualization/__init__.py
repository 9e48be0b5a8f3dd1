"""Figures of trained models: links, features, squeeze curves."""
