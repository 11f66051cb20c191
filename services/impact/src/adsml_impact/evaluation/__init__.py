"""`adsml evaluate impact` and the placebo study."""
