"""Everything up to a raw score map: datasets, regularized training, class activation maps. Never imports `eval`."""

__version__ = "0.1.0"
