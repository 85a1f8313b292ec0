"""`python -m deploy.fill CARD ...`: the weights of these cards onto the volume that `HF_HOME` and `TORCH_HOME` name.

Each card is loaded as a replica would load it, so that exactly the files it needs are there, and they fit.
"""

from __future__ import annotations

import argparse
import sys

from shared.catalog.card import Card, HubWeights
from shared.catalog.catalog import CardError, find_card
from shared.catalog.loading import LoadOptions, load
from shared.settings import settings


def fill(card: Card) -> None:
    """Load it once where its weights come from a hub. Raises what its loader raises."""
    if not isinstance(card.weights, HubWeights):
        print(f"{card.name}: nothing to fetch")
        return
    load(card, LoadOptions(roles=card.roles, device="cpu", weights_dir=settings().weights_dir, max_batch=1))
    print(f"{card.name}: fetched and whole")


def main() -> int:
    """Every card; 1 where one cannot be had, after the others."""
    parser = argparse.ArgumentParser(prog="python -m deploy.fill", description=__doc__)
    parser.add_argument("cards", nargs="+", metavar="CARD")
    failed = 0
    for name in parser.parse_args().cards:
        try:
            fill(find_card(name, settings().card_dirs))
        except (CardError, RuntimeError, OSError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
