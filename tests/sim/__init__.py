"""Whole clusters under a virtual clock: fault plans, invariants, histories."""
