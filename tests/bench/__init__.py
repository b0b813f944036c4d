"""Side-by-side measurements with Redis: ``python -m tests.bench``.

Every comparison runs both sides in one process and one run, in turns (A B A B), and reports medians:
on a shared machine only ratios taken minutes apart, not days apart, mean anything.
"""
