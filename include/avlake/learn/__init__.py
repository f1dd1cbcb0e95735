"""Splits, metrics and one file per learner."""
