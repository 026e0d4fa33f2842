"""Appearance: how a person looks, drawn in any posture."""
