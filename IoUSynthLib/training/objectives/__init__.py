"""What generators learn for, one file for each adversarial scheme.

The loop is the same for all (:mod:`..trainer`); an :class:`.objective.Objective` says what a generator's loss is and
what its discriminators learn.
"""
