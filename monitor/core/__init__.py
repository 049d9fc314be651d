"""The pure core: what happens to a sample, as plain synchronous code over numpy arrays."""
