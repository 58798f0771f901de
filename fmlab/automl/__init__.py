"""What makes a search an AutoML: scores that trials keep, ensembles of trials, the portfolio, presets, the Python call.

`scores` keeps what trials gave the validation rows · `selection` chooses members and weights by them · `ensemble` makes
a model of the chosen trials and judges it · `portfolio` reads what did well before · `search` is the call from Python.
"""
