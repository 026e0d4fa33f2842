"""Behavior: what a person does, apart from how the body stands."""
