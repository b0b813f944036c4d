"""Tests of everything: imports anything, imported by nobody."""
