"""The verbs of the command line; each module is imported only when one of its verbs is called."""
