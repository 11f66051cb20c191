"""Estimators and kernels: arrays in, arrays out."""
