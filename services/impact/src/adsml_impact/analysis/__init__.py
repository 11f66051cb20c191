"""From a change and an account's days to what is said of it: windows, controls, cautions, verdict."""
