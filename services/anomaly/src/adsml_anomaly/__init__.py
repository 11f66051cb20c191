"""adsml_anomaly."""
