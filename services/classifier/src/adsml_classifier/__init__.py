"""adsml_classifier."""
