"""Hazards: what fails with what, and what that means for colonies."""
