"""adsml_impact."""
