"""adsml_client."""
