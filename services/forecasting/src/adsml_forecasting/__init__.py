"""adsml_forecasting."""
