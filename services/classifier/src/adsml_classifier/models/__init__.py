"""Estimators and kernels: numpy in, numpy out."""
