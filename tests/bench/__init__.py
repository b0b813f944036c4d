"""Side-by-side measurements with Redis: ``python -m tests.bench``.

Both sides run in one process and one run, in turns (A B A B). What counts is the median of the ratios
of rounds that are next to each other in time; a wide spread of them says that the machine was noisy.
"""
