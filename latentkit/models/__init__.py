"""Networks, the one training loop, and the papers' models."""
