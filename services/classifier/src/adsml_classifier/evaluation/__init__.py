"""What `adsml evaluate classifier` and the studies need."""
