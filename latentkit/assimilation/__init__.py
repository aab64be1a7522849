"""Data assimilation: observations, two drivers, and one small file a method."""
