"""Tests of what a user touches."""
