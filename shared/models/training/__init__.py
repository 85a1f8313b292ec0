"""Training of the bundled `street` model: `python -m shared.models.training --data DIR --out DIR`."""
