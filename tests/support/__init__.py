"""Code that tests and the programs beside them share; imported as `from tests.support.env import …`."""
