"""The command line: one thin file for each verb, each a door onto a function of the packages above."""
