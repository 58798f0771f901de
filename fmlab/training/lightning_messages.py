"""Which of Lightning's messages a person sees."""

import logging
import warnings


def quiet() -> None:
    """Lightning announces devices, tips and restored files, and warns of what is meant here."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", module=rf"{name}\.")
