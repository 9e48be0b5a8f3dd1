"""Judging a frozen backbone by its cached features: logistic regression, or nearest neighbors."""
