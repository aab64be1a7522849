"""The error of a state that is no longer finite, which a driver of an assimilation takes for divergence."""


class NotFiniteError(ValueError, FloatingPointError):
    """Say what is not finite, where and when."""
