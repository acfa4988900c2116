"""How sure a fit is: errors from the information, profiles, the posterior about it, resampling.

`information` has the free coordinates that all of it is taken in, `record` how errors are read.
"""
