"""What every adsml service shares. No model code lives here."""
