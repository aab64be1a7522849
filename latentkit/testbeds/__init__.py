"""Dynamical systems with a known truth, batched in torch: members first, parameters one a member."""
